"""A stand-in for jax, whose own source is not at hand: a package of source that is pure Python."""

from setuptools import setup

setup(name="jax", version="0.4.13", packages=["jax"])

"""The same examples in every run: a test that fails on one machine fails on all."""

from hypothesis import settings

settings.register_profile("the same", derandomize=True, database=None, deadline=None, max_examples=100)
settings.load_profile("the same")

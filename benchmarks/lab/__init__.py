"""Benchmarks on emulated boards."""

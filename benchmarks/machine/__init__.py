"""Benchmarks of this machine alone, without emulated boards."""

"""Benchmarks of the kit on emulated boards: `make bench-NAME` writes runs/bench-NAME.json."""

"""Figures and tables of the benchmarks in docs/."""

"""Benchmark tasks: one module per task."""

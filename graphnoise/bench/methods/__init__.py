"""Methods of the benchmark tasks."""

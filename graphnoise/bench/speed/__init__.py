"""The speed of operations beside their peers: the same result first, then interleaved rounds in one process."""

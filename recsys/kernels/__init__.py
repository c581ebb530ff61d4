"""Native kernels of recsys and their doors."""

"""Native kernels of recsys: negative sampling, scores and sums of pairs, SGD epochs."""

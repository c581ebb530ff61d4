"""Noise-robust recommenders for implicit feedback, on the noise models of `graphnoise`."""

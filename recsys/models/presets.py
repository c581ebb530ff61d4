"""Hyper-parameters of NBPO's released code: learning rate, L2 of the factors, L2 of the flip factors or None."""

PRESETS: dict[str, dict[str, tuple[float, float, float | None]]] = {
    "bpr": {"amazon": (0.05, 1.0, None), "movielens": (0.02, 1.0, None)},
    "bpo": {"amazon": (0.05, 1.0, None), "movielens": (0.01, 1.0, None)},
    "nbpo": {"amazon": (0.05, 1.0, 5.0), "movielens": (0.02, 0.5, 1.0)},
    "nbpo-o": {"amazon": (0.005, 1.0, 0.5), "movielens": (0.001, 1.0, 5.0)},
    "nbpo-s": {"amazon": (0.002, 0.05, 0.01), "movielens": (0.002, 0.05, 0.02)},
}

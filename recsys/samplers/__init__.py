"""Samplers of negatives, with one contract: `fit(user_items)`, then `sample(users, k, rng)` -> items, int32 [B, k]."""

from .base import Sampler
from .fixed import Popularity, Uniform

__all__ = ["Popularity", "Sampler", "Uniform"]

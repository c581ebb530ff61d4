"""Samplers of negatives, with one contract: `fit(user_items)`, then `sample(users, k, rng)` -> items, int32 [B, k]."""

from recsys.samplers.base import Sampler
from recsys.samplers.fixed import Popularity, Uniform

__all__ = ["Popularity", "Sampler", "Uniform"]

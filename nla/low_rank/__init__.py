"""How much rank the layers need: layers of low rank, their factors in closed form, and models trained with them."""

from nla.low_rank.layers import LowRank, linears, place, replace

__all__ = ["LowRank", "linears", "place", "replace"]

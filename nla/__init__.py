"""How the weight matrices of large language models change while the models are trained."""

from nla import figures, nulls
from nla.audit import audit
from nla.families import KINDS, split_heads
from nla.matrices import Matrix, Weights, load
from nla.measures import norms
from nla.measures.norms import lp_norm, random_lp_norm, random_norms
from nla.models import Checkpoint, checkpoints, history, recipe
from nla.scan import scan
from nla.weights import CheckpointError

__all__ = [
    "KINDS",
    "Checkpoint",
    "CheckpointError",
    "Matrix",
    "Weights",
    "audit",
    "checkpoints",
    "figures",
    "history",
    "load",
    "lp_norm",
    "norms",
    "nulls",
    "random_lp_norm",
    "random_norms",
    "recipe",
    "scan",
    "split_heads",
]

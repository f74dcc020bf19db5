"""The public names and where each comes from; nla/__init__.py imports them when first asked for."""

from . import (
    commands as commands,
    demo as demo,
    figures as figures,
    low_rank as low_rank,
    matrices as matrices,
    measures as measures,
    models as models,
    nulls as nulls,
    numerics as numerics,
    running as running,
    scanning as scanning,
    studies as studies,
)
from .commands.audit import audit as audit
from .commands.tables import compare as compare
from .matrices.families import KINDS as KINDS
from .matrices.matrix import Matrix as Matrix
from .matrices.weights import Weights as Weights, load as load
from .measures.correlation import correlation as correlation, neuron_cosines as neuron_cosines
from .measures.drift import drift as drift
from .measures.head_products import head_products as head_products
from .measures.linear_maps import neuron_cca as neuron_cca, neuron_regression as neuron_regression
from .measures.norms import norms as norms
from .measures.orthogonality import angles as angles, head_isotropy as head_isotropy, orthogonality as orthogonality
from .measures.power_law import power_law as power_law, power_law_checks as power_law_checks
from .measures.random_matrix import random_matrix as random_matrix
from .measures.sparsity import sparsity as sparsity
from .measures.spectrum import spectrum as spectrum
from .measures.subspaces import subspaces as subspaces
from .measures.update import update as update
from .measures.vector_statistics import singular_vector_statistics as singular_vector_statistics
from .measures.vectors import folded as folded, vectors as vectors
from .measures.verdicts import verdicts as verdicts
from .models.errors import CheckpointError as CheckpointError
from .models.ladder import Checkpoint as Checkpoint, checkpoints as checkpoints
from .nulls.recipes import history as history, recipe as recipe
from .scanning.scan import scan as scan

__all__ = [
    "KINDS",
    "Checkpoint",
    "CheckpointError",
    "Matrix",
    "Weights",
    "angles",
    "audit",
    "checkpoints",
    "commands",
    "compare",
    "correlation",
    "demo",
    "drift",
    "figures",
    "folded",
    "head_isotropy",
    "head_products",
    "history",
    "load",
    "low_rank",
    "matrices",
    "measures",
    "models",
    "neuron_cca",
    "neuron_cosines",
    "neuron_regression",
    "norms",
    "nulls",
    "numerics",
    "orthogonality",
    "power_law",
    "power_law_checks",
    "random_matrix",
    "recipe",
    "running",
    "scan",
    "scanning",
    "singular_vector_statistics",
    "sparsity",
    "spectrum",
    "studies",
    "subspaces",
    "update",
    "vectors",
    "verdicts",
]

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
from .matrices.families import KINDS as KINDS, split_heads as split_heads
from .matrices.matrix import Matrix as Matrix
from .matrices.weights import Weights as Weights, load as load
from .measures.correlation import (
    correlation as correlation,
    neuron_cosines as neuron_cosines,
    random_cosines as random_cosines,
)
from .measures.drift import drift as drift, rand_distance as rand_distance
from .measures.head_products import (
    head_products as head_products,
    product_singular_values as product_singular_values,
    random_product_ranks as random_product_ranks,
    random_product_spectra as random_product_spectra,
)
from .measures.linear_maps import (
    neuron_cca as neuron_cca,
    neuron_regression as neuron_regression,
    pooled_regression as pooled_regression,
)
from .measures.norms import (
    lp_norm as lp_norm,
    norms as norms,
    random_lp_norm as random_lp_norm,
    random_norms as random_norms,
)
from .measures.orthogonality import angles as angles, head_isotropy as head_isotropy, orthogonality as orthogonality
from .measures.power_law import (
    power_law as power_law,
    power_law_checks as power_law_checks,
    random_alpha as random_alpha,
)
from .measures.random_matrix import random_matrix as random_matrix
from .measures.sketched import sketched_spectrum as sketched_spectrum
from .measures.sparsity import (
    WEIGHT_BINS as WEIGHT_BINS,
    departure as departure,
    random_sparsity as random_sparsity,
    sparsity as sparsity,
    weight_histogram as weight_histogram,
)
from .measures.spectrum import random_ranks as random_ranks, resolution as resolution, spectrum as spectrum
from .measures.subspaces import random_angle as random_angle, subspaces as subspaces
from .measures.update import update as update
from .measures.vector_statistics import singular_vector_statistics as singular_vector_statistics
from .measures.vectors import fold as fold, folded as folded, rotary_dimensions as rotary_dimensions, vectors as vectors
from .measures.verdicts import verdicts as verdicts
from .models.errors import CheckpointError as CheckpointError
from .models.ladder import Checkpoint as Checkpoint, checkpoints as checkpoints, history as history, recipe as recipe
from .nulls.draws import random_drift as random_drift
from .nulls.marchenko_pastur import bulk_sigma as bulk_sigma
from .numerics.distributions import gini as gini, hoyer as hoyer, weibull as weibull, weibull_plot as weibull_plot
from .numerics.spectra import ranks as ranks
from .scanning.scan import scan as scan
from .studies.power_law_alpha.planted import planted as planted, planted_table as planted_table
from .studies.randomised_nla.sketch_errors import sketch_errors as sketch_errors

__all__ = [
    "KINDS",
    "WEIGHT_BINS",
    "Checkpoint",
    "CheckpointError",
    "Matrix",
    "Weights",
    "angles",
    "audit",
    "bulk_sigma",
    "checkpoints",
    "commands",
    "correlation",
    "demo",
    "departure",
    "drift",
    "figures",
    "fold",
    "folded",
    "gini",
    "head_isotropy",
    "head_products",
    "history",
    "hoyer",
    "load",
    "low_rank",
    "lp_norm",
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
    "planted",
    "planted_table",
    "pooled_regression",
    "power_law",
    "power_law_checks",
    "product_singular_values",
    "rand_distance",
    "random_alpha",
    "random_angle",
    "random_cosines",
    "random_drift",
    "random_lp_norm",
    "random_matrix",
    "random_norms",
    "random_product_ranks",
    "random_product_spectra",
    "random_ranks",
    "random_sparsity",
    "ranks",
    "recipe",
    "resolution",
    "rotary_dimensions",
    "running",
    "scan",
    "scanning",
    "singular_vector_statistics",
    "sketch_errors",
    "sketched_spectrum",
    "sparsity",
    "spectrum",
    "split_heads",
    "studies",
    "subspaces",
    "update",
    "vectors",
    "verdicts",
    "weibull",
    "weibull_plot",
    "weight_histogram",
]

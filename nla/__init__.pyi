"""The public names and where each comes from; nla/__init__.py imports them when first asked for."""

from . import (
    activations as activations,
    alpha_checks as alpha_checks,
    alpha_model as alpha_model,
    claims as claims,
    evaluation as evaluation,
    evidence as evidence,
    figures as figures,
    fine_tuning as fine_tuning,
    galore as galore,
    galore_tables as galore_tables,
    literature as literature,
    marchenko_pastur as marchenko_pastur,
    neurons as neurons,
    nulls as nulls,
    pairs as pairs,
    printed as printed,
    profiles as profiles,
    quadratures as quadratures,
    sketch as sketch,
    stages as stages,
    surgery as surgery,
    tails as tails,
    unimodality as unimodality,
)
from .alpha_checks import verdicts as verdicts
from .auditing import audit as audit
from .distributions import gini as gini, hoyer as hoyer, weibull as weibull, weibull_plot as weibull_plot
from .families import KINDS as KINDS, split_heads as split_heads
from .matrices import Matrix as Matrix, Weights as Weights, load as load
from .measures import (
    angles as angles,
    correlation as correlation,
    drift as drift,
    folded as folded,
    head_isotropy as head_isotropy,
    head_products as head_products,
    neuron_cca as neuron_cca,
    neuron_cosines as neuron_cosines,
    neuron_regression as neuron_regression,
    norms as norms,
    orthogonality as orthogonality,
    power_law as power_law,
    power_law_checks as power_law_checks,
    random_matrix as random_matrix,
    singular_vector_statistics as singular_vector_statistics,
    sparsity as sparsity,
    spectrum as spectrum,
    subspaces as subspaces,
    update as update,
    vectors as vectors,
)
from .measures.correlation import random_cosines as random_cosines
from .measures.drift import rand_distance as rand_distance
from .measures.head_products import (
    product_singular_values as product_singular_values,
    random_product_ranks as random_product_ranks,
    random_product_spectra as random_product_spectra,
)
from .measures.linear_maps import pooled_regression as pooled_regression
from .measures.norms import lp_norm as lp_norm, random_lp_norm as random_lp_norm, random_norms as random_norms
from .measures.power_law import random_alpha as random_alpha
from .measures.sketch_errors import sketch_errors as sketch_errors
from .measures.sketched import sketched_spectrum as sketched_spectrum
from .measures.sparsity import (
    WEIGHT_BINS as WEIGHT_BINS,
    departure as departure,
    random_sparsity as random_sparsity,
    weight_histogram as weight_histogram,
)
from .measures.spectrum import bulk_sigma as bulk_sigma, random_ranks as random_ranks, resolution as resolution
from .measures.subspaces import random_angle as random_angle, random_drift as random_drift
from .measures.vectors import fold as fold, rotary_dimensions as rotary_dimensions
from .models import Checkpoint as Checkpoint, checkpoints as checkpoints, history as history, recipe as recipe
from .planting import planted as planted, planted_table as planted_table
from .scanning import scan as scan
from .spectra import ranks as ranks
from .weights import CheckpointError as CheckpointError

__all__ = [
    "KINDS",
    "WEIGHT_BINS",
    "Checkpoint",
    "CheckpointError",
    "Matrix",
    "Weights",
    "activations",
    "alpha_checks",
    "alpha_model",
    "angles",
    "audit",
    "bulk_sigma",
    "checkpoints",
    "claims",
    "correlation",
    "departure",
    "drift",
    "evaluation",
    "evidence",
    "figures",
    "fine_tuning",
    "fold",
    "folded",
    "galore",
    "galore_tables",
    "gini",
    "head_isotropy",
    "head_products",
    "history",
    "hoyer",
    "literature",
    "load",
    "lp_norm",
    "marchenko_pastur",
    "neuron_cca",
    "neuron_cosines",
    "neuron_regression",
    "neurons",
    "norms",
    "nulls",
    "orthogonality",
    "pairs",
    "planted",
    "planted_table",
    "pooled_regression",
    "power_law",
    "power_law_checks",
    "printed",
    "product_singular_values",
    "profiles",
    "quadratures",
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
    "scan",
    "singular_vector_statistics",
    "sketch",
    "sketch_errors",
    "sketched_spectrum",
    "sparsity",
    "spectrum",
    "split_heads",
    "stages",
    "subspaces",
    "surgery",
    "tails",
    "unimodality",
    "update",
    "vectors",
    "verdicts",
    "weibull",
    "weibull_plot",
    "weight_histogram",
]

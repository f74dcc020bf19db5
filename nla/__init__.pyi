"""The public names and where each comes from; nla/__init__.py imports them when first asked for."""

from . import (
    alpha_checks as alpha_checks,
)
from . import (
    alpha_model as alpha_model,
)
from . import (
    claims as claims,
)
from . import (
    evidence as evidence,
)
from . import (
    figures as figures,
)
from . import (
    galore as galore,
)
from . import (
    galore_tables as galore_tables,
)
from . import (
    literature as literature,
)
from . import (
    neurons as neurons,
)
from . import (
    nulls as nulls,
)
from . import (
    pairs as pairs,
)
from . import (
    printed as printed,
)
from . import (
    quadratures as quadratures,
)
from . import (
    sketch as sketch,
)
from . import (
    stages as stages,
)
from . import (
    surgery as surgery,
)
from . import (
    tails as tails,
)
from . import (
    unimodality as unimodality,
)
from .alpha_checks import verdicts as verdicts
from .auditing import audit as audit
from .distributions import gini as gini
from .distributions import hoyer as hoyer
from .distributions import weibull as weibull
from .distributions import weibull_plot as weibull_plot
from .families import KINDS as KINDS
from .families import split_heads as split_heads
from .matrices import Matrix as Matrix
from .matrices import Weights as Weights
from .matrices import load as load
from .measures import (
    angles as angles,
)
from .measures import (
    correlation as correlation,
)
from .measures import (
    drift as drift,
)
from .measures import (
    folded as folded,
)
from .measures import (
    head_isotropy as head_isotropy,
)
from .measures import (
    head_products as head_products,
)
from .measures import (
    neuron_cca as neuron_cca,
)
from .measures import (
    neuron_cosines as neuron_cosines,
)
from .measures import (
    neuron_regression as neuron_regression,
)
from .measures import (
    norms as norms,
)
from .measures import (
    orthogonality as orthogonality,
)
from .measures import (
    power_law as power_law,
)
from .measures import (
    power_law_checks as power_law_checks,
)
from .measures import (
    sparsity as sparsity,
)
from .measures import (
    spectrum as spectrum,
)
from .measures import (
    subspaces as subspaces,
)
from .measures import (
    update as update,
)
from .measures import (
    vectors as vectors,
)
from .measures.correlation import random_cosines as random_cosines
from .measures.drift import rand_distance as rand_distance
from .measures.head_products import (
    product_singular_values as product_singular_values,
)
from .measures.head_products import (
    random_product_ranks as random_product_ranks,
)
from .measures.head_products import (
    random_product_spectra as random_product_spectra,
)
from .measures.linear_maps import pooled_regression as pooled_regression
from .measures.norms import lp_norm as lp_norm
from .measures.norms import random_lp_norm as random_lp_norm
from .measures.norms import random_norms as random_norms
from .measures.power_law import random_alpha as random_alpha
from .measures.sketch_errors import sketch_errors as sketch_errors
from .measures.sketched import sketched_spectrum as sketched_spectrum
from .measures.sparsity import (
    WEIGHT_BINS as WEIGHT_BINS,
)
from .measures.sparsity import (
    departure as departure,
)
from .measures.sparsity import (
    random_sparsity as random_sparsity,
)
from .measures.sparsity import (
    weight_histogram as weight_histogram,
)
from .measures.spectrum import bulk_sigma as bulk_sigma
from .measures.spectrum import random_ranks as random_ranks
from .measures.spectrum import resolution as resolution
from .measures.subspaces import random_angle as random_angle
from .measures.subspaces import random_drift as random_drift
from .measures.vectors import fold as fold
from .measures.vectors import rotary_dimensions as rotary_dimensions
from .models import Checkpoint as Checkpoint
from .models import checkpoints as checkpoints
from .models import history as history
from .models import recipe as recipe
from .planting import planted as planted
from .planting import planted_table as planted_table
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
    "evidence",
    "figures",
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
    "quadratures",
    "rand_distance",
    "random_alpha",
    "random_angle",
    "random_cosines",
    "random_drift",
    "random_lp_norm",
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

"""A Matrix -> a flat dict of numbers, one module a question; `__all__` names the measures, the rest is beside them."""

from nla.measures.correlation import correlation, neuron_cosines, random_cosines as random_cosines
from nla.measures.drift import drift, rand_distance as rand_distance
from nla.measures.head_products import (
    head_products,
    product_singular_values as product_singular_values,
    random_product_ranks as random_product_ranks,
    random_product_spectra as random_product_spectra,
)
from nla.measures.linear_maps import neuron_cca, neuron_regression, pooled_regression as pooled_regression
from nla.measures.norms import lp_norm as lp_norm, norms, random_lp_norm as random_lp_norm, random_norms as random_norms
from nla.measures.orthogonality import angles, head_isotropy, orthogonality
from nla.measures.power_law import power_law, power_law_checks, random_alpha as random_alpha
from nla.measures.random_matrix import random_matrix
from nla.measures.sketched import sketched_spectrum as sketched_spectrum
from nla.measures.sparsity import (
    WEIGHT_BINS as WEIGHT_BINS,
    departure as departure,
    random_sparsity as random_sparsity,
    sparsity,
    weight_histogram as weight_histogram,
)
from nla.measures.spectrum import random_ranks as random_ranks, resolution as resolution, spectrum
from nla.measures.subspaces import random_angle as random_angle, subspaces
from nla.measures.update import update
from nla.measures.vector_statistics import singular_vector_statistics
from nla.measures.vectors import fold as fold, folded, rotary_dimensions as rotary_dimensions, vectors
from nla.measures.verdicts import verdicts as verdicts

__all__ = [
    "angles",
    "correlation",
    "drift",
    "folded",
    "head_isotropy",
    "head_products",
    "neuron_cca",
    "neuron_cosines",
    "neuron_regression",
    "norms",
    "orthogonality",
    "power_law",
    "power_law_checks",
    "random_matrix",
    "singular_vector_statistics",
    "sparsity",
    "spectrum",
    "subspaces",
    "update",
    "vectors",
]

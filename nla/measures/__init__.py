"""The measures, one module per notebook; each is a function of one Matrix that returns a flat dict."""

from nla.measures.correlation import correlation, neuron_cosines
from nla.measures.drift import drift
from nla.measures.head_products import head_products
from nla.measures.linear_maps import neuron_cca, neuron_regression
from nla.measures.norms import norms
from nla.measures.orthogonality import angles, head_isotropy, orthogonality
from nla.measures.power_law import power_law, power_law_checks
from nla.measures.random_matrix import random_matrix
from nla.measures.sparsity import sparsity
from nla.measures.spectrum import spectrum
from nla.measures.stages import update
from nla.measures.subspaces import subspaces
from nla.measures.vector_statistics import singular_vector_statistics
from nla.measures.vectors import folded, vectors

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

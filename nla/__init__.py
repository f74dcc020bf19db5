"""How the weight matrices of large language models change while the models are trained."""

from nla import (
    alpha_checks,
    alpha_model,
    alpha_plots,
    angle_plots,
    claims,
    evidence,
    figures,
    literature,
    loss_plots,
    neurons,
    nulls,
    pairs,
    printed,
    spectral_plots,
    stage_plots,
    stages,
    surgery,
    tails,
    unimodality,
    vector_plots,
)
from nla.alpha_checks import verdicts
from nla.audit import audit
from nla.distributions import gini, hoyer, weibull, weibull_plot
from nla.families import KINDS, split_heads
from nla.matrices import Matrix, Weights, load
from nla.measures import (
    angles,
    correlation,
    drift,
    folded,
    head_isotropy,
    head_products,
    neuron_cca,
    neuron_cosines,
    neuron_regression,
    norms,
    orthogonality,
    power_law,
    power_law_checks,
    sparsity,
    spectrum,
    subspaces,
    update,
    vectors,
)
from nla.measures.correlation import random_cosines
from nla.measures.drift import rand_distance
from nla.measures.head_products import product_singular_values, random_product_ranks, random_product_spectra
from nla.measures.linear_maps import pooled_regression
from nla.measures.norms import lp_norm, random_lp_norm, random_norms
from nla.measures.power_law import random_alpha
from nla.measures.sparsity import WEIGHT_BINS, departure, random_sparsity, weight_histogram
from nla.measures.spectrum import bulk_sigma, random_ranks, resolution
from nla.measures.subspaces import random_angle, random_drift
from nla.measures.vectors import fold, rotary_dimensions
from nla.models import Checkpoint, checkpoints, history, recipe
from nla.planted import planted, planted_table
from nla.scan import scan
from nla.spectra import ranks
from nla.weights import CheckpointError

__all__ = [
    "KINDS",
    "WEIGHT_BINS",
    "Checkpoint",
    "CheckpointError",
    "Matrix",
    "Weights",
    "alpha_checks",
    "alpha_model",
    "alpha_plots",
    "angle_plots",
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
    "gini",
    "head_isotropy",
    "head_products",
    "history",
    "hoyer",
    "literature",
    "load",
    "loss_plots",
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
    "sparsity",
    "spectral_plots",
    "spectrum",
    "split_heads",
    "stage_plots",
    "stages",
    "subspaces",
    "surgery",
    "tails",
    "unimodality",
    "update",
    "vector_plots",
    "vectors",
    "verdicts",
    "weibull",
    "weibull_plot",
    "weight_histogram",
]

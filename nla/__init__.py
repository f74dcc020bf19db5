"""How the weight matrices of large language models change while the models are trained."""

import warnings
from importlib import import_module

import lazy_loader

# Nothing is imported before it is asked for: the public names are listed in __init__.pyi.
_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_DEPRECATED = {  # a name of 0.1 -> its place; gone in 0.3
    "WEIGHT_BINS": "measures.WEIGHT_BINS",
    "activations": "running.activations",
    "alpha_checks": "measures.verdicts",
    "alpha_model": "studies.power_law_alpha.averages",
    "bulk_sigma": "nulls.bulk_sigma",
    "claims": "studies.literature_review",
    "departure": "measures.departure",
    "evaluation": "running.evaluation",
    "evidence": "studies.literature_review.evidence",
    "fine_tuning": "studies.fine_tuning_stages.fine_tuning",
    "fold": "measures.fold",
    "galore": "studies.randomised_nla.galore",
    "galore_tables": "studies.randomised_nla.tables",
    "gini": "numerics.gini",
    "hoyer": "numerics.hoyer",
    "literature": "studies.literature_review.references",
    "lp_norm": "measures.lp_norm",
    "marchenko_pastur": "nulls.edges",
    "neurons": "measures.neurons",
    "pairs": "numerics.pairs",
    "planted": "studies.power_law_alpha.planted.planted",
    "planted_table": "studies.power_law_alpha.planted.planted_table",
    "pooled_regression": "measures.pooled_regression",
    "printed": "studies.biases_layernorms.printed",
    "product_singular_values": "measures.product_singular_values",
    "profiles": "studies.spectrum_rank",
    "quadratures": "numerics.quadrature",
    "rand_distance": "measures.rand_distance",
    "random_alpha": "measures.random_alpha",
    "random_angle": "measures.random_angle",
    "random_cosines": "measures.random_cosines",
    "random_drift": "nulls.random_drift",
    "random_lp_norm": "measures.random_lp_norm",
    "random_norms": "measures.random_norms",
    "random_product_ranks": "measures.random_product_ranks",
    "random_product_spectra": "measures.random_product_spectra",
    "random_ranks": "measures.random_ranks",
    "random_sparsity": "measures.random_sparsity",
    "ranks": "numerics.ranks",
    "resolution": "measures.resolution",
    "rotary_dimensions": "measures.rotary_dimensions",
    "sketch": "numerics.sketch",
    "sketch_errors": "studies.randomised_nla.sketch_errors.sketch_errors",
    "sketched_spectrum": "measures.sketched_spectrum",
    "split_heads": "matrices.split_heads",
    "stages": "studies.chains",
    "surgery": "running.surgery",
    "tails": "numerics.tails",
    "unimodality": "numerics.modes",
    "weibull": "numerics.weibull",
    "weibull_plot": "numerics.weibull_plot",
    "weight_histogram": "measures.weight_histogram",
}


def __getattr__(name):
    if name not in _DEPRECATED:
        return _public(name)
    place = f"nla.{_DEPRECATED[name]}"
    warnings.warn(f"nla.{name} is {place} now", FutureWarning, stacklevel=2)
    owner, _, last = place.rpartition(".")
    try:
        return import_module(place)
    except ModuleNotFoundError:
        return getattr(import_module(owner), last)

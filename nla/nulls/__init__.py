"""A shape -> what chance alone gives: laws, and draws that keep something of a matrix."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["directions", "draws", "edges", "entries", "gaussian", "marchenko_pastur", "recipes", "spikes"],
    submod_attrs={
        "directions": [
            "angle_density",
            "angle_sd",
            "cosine_density",
            "cosine_max_abs",
            "cosine_mean_abs",
            "cosine_quantile",
            "wachter_edges",
            "wachter_spectrum",
        ],
        "draws": ["random_drift"],
        "gaussian": [
            "TRACY_WIDOM_MEAN",
            "TRACY_WIDOM_Q99",
            "abs_moment",
            "gaussian_eigenvalues",
            "gram_deviation",
            "median_condition_number",
            "normal_max",
            "nuclear_norm",
            "procrustes",
            "spectral_norm",
        ],
        "marchenko_pastur": ["bulk_sigma", "mp_cdf", "mp_density", "mp_edges", "mp_spectrum"],
        "recipes": ["Recipe", "history", "recipe"],
    },
)

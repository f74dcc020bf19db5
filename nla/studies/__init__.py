"""What one notebook alone needs, in a folder or file of the notebook's name."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "biases_layernorms",
        "drift_from_init",
        "fine_tuning_stages",
        "literature_review",
        "low_rank_compression",
        "low_rank_training",
        "norms",
        "orthogonality",
        "power_law_alpha",
        "random_matrix_theory",
        "randomised_nla",
        "sparsity",
        "removals",
        "spectrum_rank",
        "stored",
        "w1_w2_correlation",
    ],
)

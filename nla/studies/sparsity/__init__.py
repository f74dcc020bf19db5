"""What notebook 04 alone needs: rows of a matrix -> their norms, by head and beside the start."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["row_norm_plots", "row_norms"],
    submod_attrs={"row_norms": ["COMMON_PASS"]},
)

"""What notebook 04 alone needs: rows and columns of a matrix -> figures of their norms."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["row_norm_plots"],
)

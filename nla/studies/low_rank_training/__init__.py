"""What notebook 11 alone needs: models trained with low-rank layers -> losses and counts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["experiments", "plots", "runs", "variants"],
)

"""What notebook 03 alone needs: a matrix and its start -> how far it turned, beside random changes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["plots", "turning"],
    submod_attrs={"turning": ["COMMON_PASS"]},
)

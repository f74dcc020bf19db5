"""What notebook 13 alone needs: a vector of a layer -> printed means and figures."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["beside_rows", "plots", "printed"],
    submod_attrs={"beside_rows": ["COMMON_PASS"]},
)

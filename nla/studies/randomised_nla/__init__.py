"""What notebook 14 alone needs: sketches and projected gradients -> errors and stored runs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["galore", "plots", "runs", "sketch_errors", "tables"],
    submod_attrs={"sketch_errors": ["COMMON_PASS"]},
)

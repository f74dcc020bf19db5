"""What notebook 05 alone needs: neurons and what they are given -> how they lean."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["leaning", "plots", "residual_stream"],
    submod_attrs={"leaning": ["COMMON_PASS"]},
)

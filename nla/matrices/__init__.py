"""A checkpoint -> its matrices by kind and layer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["families", "kept", "layout", "matrix", "tensors", "weights"],
    submod_attrs={
        "families": ["FAMILIES", "Family", "KINDS"],
        "layout": ["Layout", "Norm", "split_heads"],
        "matrix": ["Matrix"],
        "weights": ["Weights", "load"],
    },
)

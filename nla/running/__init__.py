"""A checkpoint -> a model that runs: its losses, what its matrices read, parts replaced, training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "activations",
        "attention",
        "evaluation",
        "in_memory",
        "language",
        "losses",
        "resumed",
        "surgery",
        "texts",
        "training",
    ],
)

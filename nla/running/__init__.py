"""A checkpoint -> a model that runs: its losses, what its matrices read, parts replaced, training."""

from pkgutil import iter_modules

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[found.name for found in iter_modules(__path__)],
)

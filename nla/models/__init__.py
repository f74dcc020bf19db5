"""MODEL -> its checkpoints in order, and their files on this disk; no tensor is read here."""

from pkgutil import iter_modules

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[found.name for found in iter_modules(__path__)],
    submod_attrs={
        "errors": ["CheckpointError", "unknown"],
        "ladder": ["Checkpoint", "at_step", "checkpoints", "choose", "neighbours"],
        "paths": ["DEMO", "absolute", "slug"],
    },
)

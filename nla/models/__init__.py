"""MODEL -> its checkpoints in order, and their files on this disk; no tensor is read here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "bundles",
        "cache",
        "chains",
        "errors",
        "folder",
        "hub_listing",
        "ladder",
        "paths",
        "published",
        "retries",
        "sources",
    ],
    submod_attrs={
        "errors": ["CheckpointError", "unknown"],
        "ladder": ["Checkpoint", "at_step", "checkpoints", "choose", "history", "neighbours"],
        "paths": ["DEMO", "absolute", "slug"],
    },
)

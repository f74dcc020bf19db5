"""Measures x matrices x checkpoints -> one table and the spectra, resumed from disk, here or on a cluster."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["cluster", "cluster_worker", "fingerprint", "plan", "processes", "rows", "scan", "store", "worker"],
    submod_attrs={"rows": ["KEYS"]},
)

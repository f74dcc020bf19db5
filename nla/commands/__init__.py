"""What make calls: MODEL -> tables, reports, new notebooks, one line where something is wrong."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["audit", "execute", "forks", "main", "notebook", "report", "series", "tables", "targets"],
)

"""What one notebook alone needs, in a folder or file of its name: its measures, plots and stored results.

A study's ``COMMON_PASS`` are measures that look at entries, and its ``RUNS``, [(run, steps)], look at the model as it
runs, see `runs`: ``make all`` takes both while the files are there.
"""

from importlib import import_module
from pkgutil import iter_modules

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=[found.name for found in iter_modules(__path__)]
)


def declared(name):
    """What all studies declare as `name`, one list."""
    studies = [import_module(f"{__name__}.{found}") for found in __all__]
    return [thing for study in studies for thing in getattr(study, name, ())]

"""Plain arrays -> numbers: spectra, pairs, tails, sketches; and names of steps, sizes, times -> their numbers."""

from pkgutil import iter_modules

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[found.name for found in iter_modules(__path__)],
    submod_attrs={
        "distributions": ["gini", "hoyer", "weibull", "weibull_plot"],
        "spectra": ["ranks"],
    },
)

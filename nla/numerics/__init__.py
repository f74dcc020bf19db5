"""Plain arrays -> numbers: spectra, pairs, tails, sketches; and names of steps -> their numbers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "changes",
        "codes",
        "distributions",
        "encodings",
        "modes",
        "pairs",
        "quadrature",
        "scaling",
        "sketch",
        "spectra",
        "stacks",
        "steps",
        "tails",
        "threads",
    ],
    submod_attrs={
        "distributions": ["gini", "hoyer", "weibull", "weibull_plot"],
        "spectra": ["ranks"],
    },
)

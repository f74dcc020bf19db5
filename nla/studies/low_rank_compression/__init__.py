"""Tables of notebook 10: losses of models with layers of low rank."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["budgets", "calibration", "controls", "plots", "progressive", "regression"],
    submod_attrs={"progressive": ["RUNS"]},
)

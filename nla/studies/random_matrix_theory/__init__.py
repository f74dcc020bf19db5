"""What notebook 08 alone needs: spectra and vectors -> what leaves random-matrix theory."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["beside_nulls", "onset", "overlaps", "plots", "removal_plots"],
    submod_attrs={"overlaps": ["COMMON_PASS", "RUNS"]},
)

"""What notebook 09 alone needs: fits of alpha -> averages, and spectra with planted laws."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["averages", "planted", "plots"],
)

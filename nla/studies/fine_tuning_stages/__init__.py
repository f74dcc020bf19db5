"""What notebook 12 alone needs: a chain of stages -> updates beside their controls."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["controls", "fine_tuning", "loss_plots", "shaken", "stage_changes", "stage_plots"],
    submod_attrs={"stage_changes": ["COMMON_PASS"]},
)

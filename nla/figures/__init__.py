"""A table -> a figure: theme, standard plots, saving."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["cells", "parts", "saving", "spectra", "standard"],
    submod_attrs={
        "parts": [
            "DEPTH",
            "GREY",
            "LABELS",
            "STEPS",
            "finish",
            "kind_colors",
            "label_outer",
            "layer_panels",
            "log_axis",
            "panels",
            "steps_axis",
            "steps_bar",
            "use_theme",
        ],
        "saving": ["display_png", "folder", "save", "show"],
        "standard": ["add_curve", "copied", "heatmap", "over_kinds", "over_layers", "over_steps"],
    },
)

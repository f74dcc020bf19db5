"""Figures on this disk and in the notebook: what is shown is what was saved."""

import base64
import io
import os
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from nla.figures import parts
from nla.models.paths import absolute, folder as folder_of, root, slug


def folder(model):
    """figures/MODEL/, made if it is not there; the environment variable NLA_FIGURES moves figures/."""
    path = Path(os.environ.get("NLA_FIGURES") or root() / "figures") / slug(absolute(model))
    path.mkdir(parents=True, exist_ok=True)
    return path


def name_of(model):
    """MODEL in short, the last part of it."""
    return (folder_of(model) or Path(model)).name


def save(fig, name, model):
    """Write figures/MODEL/NAME.png and return its path; with NLA_PDF=1 in the environment also NAME.pdf, for papers."""
    path = folder(model) / f"{name}.png"
    if os.environ.get("NLA_PDF", "") not in ("", "0"):
        fig.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    buffer = io.BytesIO()
    fig.savefig(buffer, metadata={"Software": None})
    # 256 colours are enough for lines and maps, and a third of the bytes: notebooks carry these pictures.
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def show(fig, name, model):
    """Save the figure, and show in the notebook exactly what was saved; where nothing is in it, or in a panel, say so.

    A figure of which nothing can be shown is a line of text.
    """
    panels = [ax for ax in fig.axes if ax.axison and ax.get_label() != "<colorbar>"]
    bare = [ax for ax in panels if not parts.holds(ax)]
    if len(bare) == len(panels):
        plt.close(fig)
        print(f"figure {name}: nothing of {name_of(model)} can be shown here")
        return
    for ax in bare:
        ax.text(0.5, 0.5, "nothing to show", transform=ax.transAxes, ha="center", va="center", color=parts.GREY)
    path = save(fig, name, model)
    plt.close(fig)
    display_png(path.read_bytes(), f"figure {name} for {name_of(model)}")


def display_png(data, text):
    """Show the bytes of a PNG in the notebook, with `text` for those who do not see it: IPython 7's Image has none."""
    from IPython.display import display

    shown = {"image/png": base64.b64encode(data).decode(), "text/plain": text}
    display(shown, raw=True, metadata={"image/png": {"alt": text}})

"""What the optimiser alone does to a weight: known training recipes and the two nulls they imply.

The recipe fixes the matrices at step 0 (variance of the initialisation) and two curves that need no data at all:
how far pure weight decay shrinks a weight that gets no gradient, and the size reached by a weight whose Adam
updates are independent noise. Sources: Biderman et al. 2023 (arXiv:2304.01373) and the configuration files of
EleutherAI/pythia; Kosson et al. 2024 (arXiv:2305.17212) for the noise curve.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nla.models import chains, paths

SMALL = ("query", "key", "value", "dense_h_to_4h", "embed_in", "embed_out")


@dataclass(frozen=True)
class Recipe:
    """AdamW with linear warm-up and a cosine to a tenth of the peak, as GPT-NeoX ran it for Pythia.

    Parameters
    ----------
    peak : float
        Highest learning rate.
    steps, warmup : int
        Number of updates, and of those in the warm-up.
    weight_decay, floor : float
        Decoupled decay per unit learning rate; lowest learning rate as a fraction of the peak.
    init : {"small_wang", "normal"}
        ``small_wang`` is small_init for matrices that read the residual stream and wang_init for those that
        write to it; ``normal`` is GPT-NeoX's default (0.02, divided by sqrt(2 layers) for the writers).
    """

    peak: float
    steps: int
    warmup: int
    weight_decay: float = 0.1
    floor: float = 0.1
    init: str = "small_wang"

    def learning_rate(self, step):
        """Learning rate of the update that leads from `step` to `step` + 1: exactly 0 at step 0, as in Pythia."""
        step = np.asarray(step, dtype=float)
        angle = np.pi * (np.minimum(step, self.steps - self.warmup) - self.warmup) / self.steps
        cosine = np.maximum(self.peak / 2 * (1 + np.cos(angle)), self.floor * self.peak)
        return np.where(step < self.warmup, self.peak * step / self.warmup, cosine)

    def decay(self, steps):
        """Factor left at each of `steps` of a weight that only decays: prod(1 - weight_decay * learning rate)."""
        shrink = 1 - self.weight_decay * self.learning_rate(np.arange(self.steps))
        return np.concatenate([[1.0], np.cumprod(shrink)])[np.asarray(steps, dtype=int)]

    def noise_rms(self, initial_rms, steps):
        """RMS at each of `steps` of a matrix whose Adam updates are independent with unit variance.

        RMS(t)^2 = (1 - wd lr)^2 RMS(t-1)^2 + lr^2, whose fixed point is sqrt(lr / 2 wd) (Kosson et al. 2024).
        """
        square, squares = initial_rms**2, [initial_rms**2]
        for rate in self.learning_rate(np.arange(self.steps)):
            square = (1 - self.weight_decay * rate) ** 2 * square + rate**2
            squares.append(square)
        return np.sqrt(np.array(squares)[np.asarray(steps, dtype=int)])

    def noise_drift(self, rms, start, step):
        """What happens between the steps `start` and `step` to a matrix whose Adam updates are independent noise.

        Parameters
        ----------
        rms : float or array
            Of the entries at `start`.
        start, step : int or array

        Returns
        -------
        (distance, angle)
            Relative distance ||W - W_start|| / ||W_start||, and angle in radians between the two. Over one step in
            equilibrium, where rms^2 = lr / 2 wd, the angle is sqrt(2 lr wd) (Kosson et al. 2024). Adam (0.9, 0.95)
            run on white noise gives 0.98 of this over hundreds of steps, but 0.4 over four: its momentum spreads an
            update over some ten steps.
        """
        kept = self.decay(step) / self.decay(start)
        added = self.noise_rms(0.0, step) ** 2 - (kept * self.noise_rms(0.0, start)) ** 2
        relative = np.sqrt(np.maximum(added, 0)) / rms
        return np.hypot(1 - kept, relative), np.arctan2(relative, kept)

    def initial_std(self, kind, hidden, layers):
        """Standard deviation of the entries of `kind` at step 0: sqrt(2/5h) or 2/(L sqrt(h)); see `init`."""
        if self.init == "normal":
            return 0.02 if kind in SMALL else 0.02 / (2 * layers) ** 0.5
        return (2 / (5 * hidden)) ** 0.5 if kind in SMALL else 2 / (layers * hidden**0.5)


def _pythia(peak, init="small_wang"):
    return Recipe(peak, steps=143000, warmup=1430, init=init)


# Peak learning rates of the .yml files (for 1b the paper's table says 3e-4); 6.9b and 12b name no init method.
PYTHIA = {
    **dict.fromkeys(("14m", "31m", "70m"), _pythia(1e-3)),
    "160m": _pythia(6e-4),
    "410m": _pythia(3e-4),
    "1b": _pythia(2.5e-4),
    "1.4b": _pythia(2e-4),
    "2.8b": _pythia(1.6e-4),
    **dict.fromkeys(("6.9b", "12b"), _pythia(1.2e-4, "normal")),
}


def history(model):
    """What training left beside a ladder (recipe, losses by step), or None where there is no history.json."""
    if chains.is_chain(model):  # several trainings, each with its own: see `studies.chains.record`
        return None
    path = Path(paths.folder(model) or model) / "history.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def recipe(model):
    """The training recipe of MODEL where it is known (history.json or the published table), else None."""
    found = published(model)
    if found:
        return found
    record = history(model)
    return Recipe(**record["recipe"]) if record and "recipe" in record else None


def published(name):
    """The published recipe of a model by its Hub name, or None where none is known to this table."""
    match = re.fullmatch(r"(?:EleutherAI/)?pythia-([\d.]+[mb])(?:-deduped)?(?:-seed\d+)?", name)
    return PYTHIA.get(match[1]) if match else None

"""MODEL -> its ordered checkpoints: the embedded demo, a folder (a ladder or one checkpoint), or a model on the Hub."""

import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nla.models import chains, hub_listing, published, sources
from nla.models.errors import unknown
from nla.models.folder import is_checkpoint
from nla.models.paths import DEMO


@dataclass(frozen=True)
class Checkpoint:
    """One saved state of a model: which, at which training step, and where its files are or will be.

    Parameters
    ----------
    model, revision : str
        MODEL, and the name of this state of it: a folder's, or a revision's on the Hub.
    step : int
    stage : str
    folder : Path
        Holds the files; those of the Hub only once they were fetched.
    repo, commit : str or None
        Where on the Hub; None for a folder of one's own.
    """

    model: str
    revision: str
    step: int
    stage: str
    folder: Path
    repo: str | None = None
    commit: str | None = None

    @property
    def source(self):
        """Where its files are, `sources.InFolder` or `sources.OnHub`, which have the same verbs."""
        return sources.OnHub(self) if self.repo else sources.InFolder(self)

    def fetch(self):
        """The folder with all its files on this disk, fetched from the Hub if need be."""
        with self.source.held() as folder:
            return folder

    def __getattr__(self, name):
        if name != "path":  # of 0.1, a property; gone in 0.3
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        warnings.warn("Checkpoint.path is Checkpoint.fetch() now", FutureWarning, stacklevel=2)
        return self.fetch()


def checkpoints(model):
    """All checkpoints of MODEL, a list of `Checkpoint` in the order of training.

    MODEL is ``demo``; a folder with ``step*/`` checkpoints, or of one checkpoint; a name such as ``pythia-1b``,
    ``pythia-410m-deduped``, ``pythia-70m-seed3``, ``opt-13b``; or org/name on the Hub. One revision alone is
    name@revision. A chain of stages is ``base>sft>dpo`` of any of these (see `models.chains`). Nothing is fetched yet.
    """
    if chains.is_chain(model):
        return chains.checkpoints(model, checkpoints)
    folder = DEMO if model == "demo" else Path(model).expanduser()
    if folder.is_dir():
        return _in_folder(model, folder)
    if not published.known(model):
        near = unknown("model", model, ["demo", *published.SHORT])
        none = f"unknown model {str(model)!r}: neither demo nor a folder here, nor a name like pythia-70m or org/name"
        raise ValueError(near if "did you mean" in near else none)
    place = hub_listing.HUB.folder
    return [
        Checkpoint(model, r.revision, r.step, r.stage, place(r.repo, r.commit), r.repo, r.commit)
        for r in published.rungs(model)
    ]


def _in_folder(model, folder):
    steps = {}
    for path in folder.iterdir():
        match = re.match(r"step[-_]?(\d+)", path.name)
        if match and path.is_dir():
            if int(match[1]) in steps:
                raise ValueError(f"{folder}: {path.name} and {steps[int(match[1])].name} are the same step")
            steps[int(match[1])] = path
    if steps:
        return [Checkpoint(model, steps[s].name, s, "pretraining", steps[s]) for s in sorted(steps)]
    if not is_checkpoint(folder):
        raise ValueError(f"{folder} holds neither step*/ folders nor the weights of one checkpoint")
    return [Checkpoint(model, folder.name, 0, "pretraining", folder)]


def at_step(ladder, step):
    """The checkpoint of `ladder` at `step`, or its last one if `step` is None."""
    if step is None:
        return ladder[-1]
    for checkpoint in ladder:
        if checkpoint.step == step:
            return checkpoint
    steps = [c.step for c in ladder]
    near = sorted(steps, key=lambda s: abs(s - step))[:3]
    raise ValueError(f"{ladder[0].model} has no step {step}; the nearest are {', '.join(map(str, sorted(near)))}")


def neighbours(ladder, checkpoint, which):
    """Seen from `checkpoint`, the candidates for the initial, previous or final one of `ladder`, the right one first.

    Those that hold no weights at all are passed over; the others follow in case a file turns out unreadable.
    """
    place = ladder.index(checkpoint)
    candidates = {"initial": ladder, "previous": ladder[:place][::-1], "final": ladder[::-1]}[which]
    return (c for c in candidates if c == checkpoint or c.source.has_weights())


def choose(ladder, steps="all"):
    """The checkpoints of `ladder` that `steps` names, in order.

    Parameters
    ----------
    steps : "all", "log", int or iterable of int
        Every checkpoint; about 20 spaced evenly in log(step + 1), first and last included; every k-th; these steps.
    """
    if isinstance(steps, str):
        if re.fullmatch(r"\d+(,\d+)*", steps):  # as a command line gives them
            numbers = [int(s) for s in steps.split(",")]
            return choose(ladder, numbers if "," in steps else numbers[0])
        if steps not in ("all", "log"):
            raise ValueError(unknown("choice of steps", steps, ["all", "log", "k for every k-th", "steps a,b,c"]))
        if steps == "all" or len(ladder) <= 20:
            return list(ladder)
        position = np.log1p([c.step for c in ladder])
        targets = np.linspace(position[0], position[-1], 20)
        return [ladder[i] for i in sorted({int(np.abs(position - t).argmin()) for t in targets})]
    if isinstance(steps, (int, np.integer)):
        if steps < 1:
            raise ValueError(f"steps={steps}: every k-th checkpoint needs k of at least 1")
        return ladder[::steps]
    wanted = {id(at_step(ladder, step)) for step in steps}
    return [c for c in ladder if id(c) in wanted]


def history(model):
    """What training left beside a ladder (recipe, losses by step), or None where there is no history.json."""
    if chains.is_chain(model):  # several trainings, each with its own: see stages.record
        return None
    path = (DEMO if model == "demo" else Path(model).expanduser()) / "history.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

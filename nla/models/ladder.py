"""MODEL -> its ordered checkpoints: the embedded demo, a folder (a ladder or one checkpoint), or a model on the Hub."""

import filecmp
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nla.models import bundles, chains, hub_listing, paths, published, sources
from nla.models.errors import CheckpointError, unknown
from nla.models.folder import is_checkpoint, read_json, weight_files
from nla.numerics import steps

FILES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")  # endings of weights


@dataclass(frozen=True)
class Checkpoint:
    """One saved state of a model: which, at which training step, and where its files are or will be."""

    model: str  # MODEL
    revision: str  # the name of this state of it: a folder's, or a revision's on the Hub
    step: int
    stage: str
    folder: Path  # holds the files; those of the Hub only once they were fetched
    repo: str | None = None  # where on the Hub; None for a folder of one's own
    commit: str | None = None
    shift: int = field(default=0, repr=False)  # by how much `step` is more than the name says: a stage counts anew

    @property
    def bundled(self):
        """Whether its folder is a bundle, without weights."""
        return not self.repo and bundles.is_bundle(self.folder)

    @property
    def source(self):
        """Where its files are: `sources.InFolder`, `OnHub` or `InBundle`, which have the same verbs."""
        return (sources.InBundle if self.bundled else sources.OnHub if self.repo else sources.InFolder)(self)

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

    MODEL is ``demo``; a folder with ``step1000/``, ``checkpoint-500/``, ``ckpt_000/`` ... (see `numerics.steps`), or of
    one checkpoint, or both; a name such as ``pythia-1b``, ``pythia-410m-deduped``, ``pythia-70m-seed3``, ``opt-13b``;
    or org/name on the Hub. One revision alone is name@revision. A chain of stages is ``base>sft>dpo`` of any of these
    (see `models.chains`). Nothing is fetched yet, but of a bundle, which may also be datasets/org/name on the Hub (see
    `models.bundles`). What looks like a step and is not followed is named in a warning.
    """
    found, left = followed(model)
    if left:
        warnings.warn(left, stacklevel=1)  # of one place, so that it is shown once
    return found


def followed(model):
    """The checkpoints of MODEL, and one line that names what looks like a step of it and is not followed, or ""."""
    folder = paths.folder(model) or bundles.fetched(model)
    if chains.is_chain(model):  # whose links say it themselves
        return chains.checkpoints(model, checkpoints), ""
    if folder and bundles.is_bundle(folder):
        entries = bundles.manifest(folder)["checkpoints"]
        return [Checkpoint(model, e["revision"], e["step"], e["stage"], folder) for e in entries], ""
    if not folder and not published.known(model):
        near = unknown("model", model, ["demo", *published.SHORT])
        none = f"unknown model {str(model)!r}: neither demo nor a folder here, nor a name like pythia-70m or org/name"
        raise ValueError(near if "did you mean" in near else none)
    found, left = _in_folder(model, folder) if folder else _on_hub(model)
    return found, f"not followed in {model}: {steps.line(left)}" if left else ""


def _on_hub(model):
    def at(revision, repo, commit, step=0, stage="", shift=0):
        return Checkpoint(model, revision, step, stage, hub_listing.HUB.folder(repo, commit), repo, commit, shift)

    rungs, left = published.rungs(model, lambda *where: at(*where).source.has_weights())
    return [at(*rung) for rung in rungs], left


def _in_folder(model, folder):
    """The steps in `folder` and the weights above them, or those alone; and {name: why it is not followed}."""

    def at(name, step=0, stage="", shift=0):
        return Checkpoint(model, name, step, stage, folder / name, shift=shift)

    named = {path.name: path.is_dir() for path in folder.iterdir() if path.is_dir() or path.suffix in FILES}
    rungs, left = steps.follow([n for n in named if named[n]], lambda name: at(name).source.mark(), folder)
    left |= {name: "a file" for name in named if not named[name] and steps.LIKE.search(name.lower())}
    ladder, above = [at(*rung) for rung in rungs], is_checkpoint(folder)
    if above and any(c.source.has_weights() for c in ladder):
        step = _final_step(folder, ladder)
        if isinstance(step, str):
            return ladder, left | ({"the weights above": step} if step else {})
        final = Checkpoint(model, "final", step, "pretraining", folder)
        return sorted([*ladder, final], key=lambda c: c.step), left
    if ladder and not above:
        return ladder, left
    left |= {c.revision: "no weights" for c in ladder}
    if not above:
        line = f"; not followed: {steps.line(left)}" if left else ""
        raise ValueError(f"{folder} holds neither step*/ folders nor the weights of one checkpoint{line}")
    return [Checkpoint(model, folder.name or "root", 0, "pretraining", folder)], left


def _final_step(folder, ladder):
    """The step of the weights above a ladder, as a Trainer leaves them; or why they are not followed, "" for a copy."""
    states = [place / "trainer_state.json" for place in (folder, ladder[-1].folder)]
    with suppress(CheckpointError, AttributeError):
        step = next((read_json(path).get("global_step") for path in states if path.is_file()), None)
        if type(step) is int and 0 <= step < 10**18 and step not in [c.step for c in ladder]:
            return step
    with suppress(CheckpointError):
        names = [path.name for path in weight_files(folder)]
        for c in ladder[::-1]:
            if filecmp.cmpfiles(folder, c.folder, names, shallow=False)[0] == names:
                return "" if c == ladder[-1] else f"the weights of {c.revision}"
    return "other weights than those of its step, or no trainer_state.json says which step that is"


def at_step(ladder, step):
    """The checkpoint of `ladder` at `step`, or its last one if `step` is None."""
    if step is None:
        return ladder[-1]
    there = {c.step: c for c in ladder}
    if step in there:
        return there[step]
    near = sorted(there, key=lambda s: abs(s - step))[:3]
    raise ValueError(f"{ladder[0].model} has no step {step}; the nearest are {', '.join(map(str, sorted(near)))}")


def neighbours(ladder, checkpoint, which):
    """Seen from `checkpoint`, candidates for the initial, previous or final one of `ladder`, the right one first."""
    place = ladder.index(checkpoint)  # the others follow in case a file turns out unreadable
    candidates = {"initial": ladder, "previous": ladder[:place][::-1], "final": ladder[::-1]}[which]
    return (c for c in candidates if c == checkpoint or c.source.has_weights())


def choose(ladder, steps="all"):
    """The checkpoints of `ladder` that `steps` names, in order.

    "all" of them; "log", about 20 spaced evenly in log(step + 1), first and last included, "log6" about six; k, every
    k-th; an iterable of steps; or a function that picks those it wants of a ladder.
    """
    if callable(steps):
        return list(steps(ladder))
    if isinstance(steps, str):
        if re.fullmatch(r"\d+(,\d+)*", steps):  # as a command line gives them
            numbers = [int(s) for s in steps.split(",")]
            return choose(ladder, numbers if "," in steps else numbers[0])
        match = re.fullmatch(r"all|log(\d*)", steps)
        if not match:
            raise ValueError(unknown("choice of steps", steps, ["all", "log", "k for every k-th", "steps a,b,c"]))
        count = int(match[1] or 20)
        if steps == "all" or len(ladder) <= count:
            return list(ladder)
        at = np.log1p([c.step for c in ladder])
        return [ladder[i] for i in sorted({int(np.abs(at - t).argmin()) for t in np.linspace(at[0], at[-1], count)})]
    if isinstance(steps, (int, np.integer)):
        if steps < 1:
            raise ValueError(f"steps={steps}: every k-th checkpoint needs k of at least 1")
        return ladder[::steps]
    wanted = {id(at_step(ladder, step)) for step in steps}
    return [c for c in ladder if id(c) in wanted]

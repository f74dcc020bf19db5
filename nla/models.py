"""MODEL -> its ordered checkpoints: the embedded demo, or a folder (a ladder of step*/ folders, or one checkpoint)."""

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nla import recipes, stages
from nla.slug import slug
from nla.weights import CheckpointError, weight_files

DEMO = Path(__file__).parent / "demo"


@dataclass(frozen=True)
class Checkpoint:
    """One saved state of a model: which, at which training step, and the folder that holds it."""

    model: str
    revision: str
    step: int
    stage: str
    path: Path


def unknown(what, name, choices):
    """One line that names the nearest of the valid choices."""
    near = difflib.get_close_matches(str(name), [str(c) for c in choices], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(map(str, choices))}"
    return f"unknown {what} {str(name)!r}: {hint}"


def checkpoints(model):
    """All checkpoints of MODEL, a list of `Checkpoint` in the order of training.

    MODEL is ``demo``, a folder with ``step*/`` checkpoints, the folder of one checkpoint, or a chain of stages such as
    ``base>sft>dpo`` of these (see `nla.stages`).
    """
    if stages.is_chain(model):
        return stages.checkpoints(model, checkpoints)
    folder = DEMO if model == "demo" else Path(model).expanduser()
    if not folder.is_dir():
        raise ValueError(f"unknown model {model!r}: neither demo nor a folder on this machine")
    steps = {}
    for path in folder.iterdir():
        match = re.match(r"step[-_]?(\d+)", path.name)
        if match and path.is_dir():
            if int(match[1]) in steps:
                raise ValueError(f"{folder}: {path.name} and {steps[int(match[1])].name} are the same step")
            steps[int(match[1])] = path
    if steps:
        return [Checkpoint(model, steps[s].name, s, "pretraining", steps[s]) for s in sorted(steps)]
    try:
        weight_files(folder)
    except CheckpointError:
        raise ValueError(f"{folder} holds neither step*/ folders nor the weights of one checkpoint") from None
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
    if stages.is_chain(model):  # several trainings, each with its own: see stages.record
        return None
    path = checkpoints(model)[0].path.parent / "history.json"
    return json.loads(path.read_text()) if path.is_file() else None


def recipe(model):
    """The training recipe of MODEL where it is known (history.json or the published table), else None."""
    published = recipes.published(model)
    if published:
        return published
    record = history(model)
    return recipes.Recipe(**record["recipe"]) if record and "recipe" in record else None

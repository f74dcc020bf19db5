"""A model's name on the Hub -> its checkpoints in the order of training, from the live list of its revisions."""

import json
import re
from collections import namedtuple
from pathlib import Path

from nla.models import hub_listing
from nla.models.errors import NotThere, unknown

Rung = namedtuple("Rung", "revision step stage repo commit")

SEEDED = ("14m", "31m", "70m", "160m", "410m")
DEDUPED = ("70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b")
OPT = ("125m", "350m", "1.3b", "2.7b", "6.7b", "13b", "30b", "66b")
SHORT = {
    **{f"pythia-{size}": "EleutherAI" for size in ("14m", "31m", *DEDUPED)},
    **{f"pythia-{size}-deduped": "EleutherAI" for size in DEDUPED},
    **{f"pythia-{size}-seed{seed}": "EleutherAI" for size in SEEDED for seed in range(1, 10)},
    **{f"opt-{size}": "facebook" for size in OPT},
}
PYTHIA = json.loads(Path(__file__).with_name("pythia.json").read_text())  # hidden size, layers, heads, vocabulary
PYTHIA_STEPS = (0, *(2**i for i in range(10)), *range(1000, 143001, 1000))  # what every Pythia has, by its README

# step1000, step_20k, stage1-step1000-tokens3B, stage2-ingredient1-step1000-tokens5B, global_step1000
STEP = re.compile(r"(?:(stage\d+)(?:-ingredient(\d+))?-)?(?:global_?)?step[-_]?(\d+)(k?)(?:-tokens[\d.]+[MBT])?")


def known(model):
    """Whether `model` has the form of a name on the Hub: a known short one, or org/name, either with @revision."""
    name = str(model).partition("@")[0]
    return name in SHORT or bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name))


def rungs(model):
    """The checkpoints of a model on the Hub, a list of `Rung` in the order of training.

    They are the branches called after steps; or where there are none, the repositories called after this one and a
    step; or else `main` alone.
    """
    name, _, revision = str(model).partition("@")
    repo = f"{SHORT[name]}/{name}" if name in SHORT else name
    try:
        found = hub_listing.HUB.revisions(repo)
    except NotThere as error:
        raise ValueError(f"unknown model {model!r}: {_no_repository(repo, error)}") from None
    if revision:
        if re.fullmatch(r"[0-9a-f]{40}", revision):
            found.setdefault(revision, revision)
        if revision not in found:
            raise ValueError(unknown(f"revision of {repo}", revision, found))
        match = STEP.fullmatch(revision)
        return [Rung(revision, _step(match) if match else 0, "pretraining", repo, found[revision])]
    steps = _ladder({revision: (repo, commit) for revision, commit in found.items()})
    if steps:
        return steps
    siblings = hub_listing.HUB.siblings(repo).items()
    others = {name.removeprefix(repo).lstrip("-_"): (name, commit) for name, commit in siblings}
    steps = _ladder(others)
    if steps:
        return steps
    if not found:
        raise ValueError(f"{repo} has no revisions")
    revision = "main" if "main" in found else min(found)
    return [Rung(revision, 0, "pretraining", repo, found[revision])]


def _ladder(named):
    """Of {name: (repository, commit)} the steps, in order; stage 2 goes on where stage 1 ended.

    Of several runs from the same checkpoint ("ingredients") the first is followed: a ladder is one path.
    """
    stages = {}
    for revision, (repo, commit) in sorted(named.items(), key=lambda item: not item[0].startswith("stage")):
        match = STEP.fullmatch(revision)
        if match:
            stage, ingredient = match[1] or "stage1", int(match[2] or 0)
            stages.setdefault((stage, ingredient), {}).setdefault(_step(match), (revision, repo, commit))
    first = {stage: min(i for s, i in stages if s == stage) for stage, _ in stages}
    rungs, offset = [], 0
    for stage in sorted(first, key=lambda s: int(s[5:])):
        steps = stages[stage, first[stage]]
        label = "pretraining" if stage == "stage1" else stage
        rungs += [Rung(revision, offset + s, label, repo, c) for s, (revision, repo, c) in sorted(steps.items())]
        offset = rungs[-1].step
    return list({r.step: r for r in reversed(rungs)}.values())[::-1]  # stage 2 at its step 0 is the end of stage 1


def _step(match):
    return int(match[3]) * (1000 if match[4] else 1)


def _no_repository(repo, error):
    hint = unknown("", repo.split("/")[-1], SHORT).partition(": ")[2]
    reason = str(error).partition(": ")[2]
    return f"no folder here, and on the Hub: {reason}" + (f"; {hint}" if hint.startswith("did") else "")

"""A model's name on the Hub -> its checkpoints in the order of training, from the live list of its revisions."""

import json
import re
from pathlib import Path

from nla.models import hub_listing
from nla.models.errors import NotThere, unknown
from nla.numerics import steps

OWNERS = json.loads(Path(__file__).with_name("owners.json").read_text())  # owner on the Hub -> short names
SHORT = {name: owner for owner, names in OWNERS.items() for name in names}
PYTHIA = json.loads(Path(__file__).with_name("pythia.json").read_text())  # hidden size, layers, heads, vocabulary
PYTHIA_STEPS = (0, *(2**i for i in range(10)), *range(1000, 143001, 1000))  # what every Pythia has, by its README


def known(model):
    """Whether `model` has the form of a name on the Hub: a known short one, or org/name, either with @revision."""
    name = str(model).partition("@")[0]
    return name in SHORT or bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name))


def rungs(model, readable):
    """What is on the Hub: in order (revision, repository, commit, step, stage, shift); and {name: why it is left out}.

    They are the branches called after steps; or where there are none, the repositories called after this one and a
    step; or else `main` alone. `readable` says whether (revision, repository, commit) holds weights.
    """
    name, _, revision = str(model).partition("@")
    repo = f"{SHORT[name]}/{name}" if name in SHORT else name
    try:
        found = hub_listing.HUB.revisions(repo)
    except NotThere as error:
        near, reason = (str(said).partition(": ")[2] for said in (unknown("", repo.split("/")[-1], SHORT), error))
        hint = f"; {near}" if near.startswith("did") else ""
        raise ValueError(f"unknown model {model!r}: no folder here, and on the Hub: {reason}{hint}") from None
    if revision:
        if re.fullmatch(r"[0-9a-f]{40}", revision):
            found.setdefault(revision, revision)
        if revision not in found:
            raise ValueError(unknown(f"revision of {repo}", revision, found))
        step = steps.parse(revision)
        return [(revision, repo, found[revision], step.step if step else 0, steps.label(step))], {}
    path, left = _ladder({revision: (repo, commit) for revision, commit in found.items()}, readable)
    if not path:
        siblings = {name.removeprefix(repo): (name, sha) for name, sha in hub_listing.HUB.siblings(repo).items()}
        parsed = {name: steps.parse(name[1:]) for name in siblings if name[0] in "-_"}
        theirs = {name[1:]: siblings[name] for name, step in parsed.items() if step and not step.run[0]}
        path, others = _ladder(theirs, readable)
        left |= others if path else {}
    if path:
        return path, left
    if not found:
        raise ValueError(f"{repo} has no revisions")
    revision = "main" if "main" in found else min(found)
    return [(revision, repo, found[revision], 0, "pretraining")], left


def _ladder(named, readable):
    """Of {name: (repository, commit)} the steps, in order, and what is left out."""
    path, left = steps.follow(named, lambda name: readable(name, *named[name]))
    return [(name, *named[name], *rung) for name, *rung in path], left

"""The chain to show for a MODEL, its ladder, and what training left beside it; see `nla.models.chains`."""

import json
from pathlib import Path

from nla.models import paths
from nla.models.chains import CHAINS, checkpoints, is_chain, links  # noqa: F401  (as `nla.stages`)
from nla.numerics.steps import METHODS  # noqa: F401


def chain_of(model):
    """The chain to show for MODEL: itself if it is one, else the first known one that begins with it, or None."""
    if is_chain(model):
        return model
    name = _repository(model)
    return next((chain for chain, stages in CHAINS.items() if _repository(stages["base"]) == name), None)


def ladder_of(model):
    """The MODEL whose training the chain begins at the end of: its base link, all revisions."""
    base = links(model)["base"]
    return base if paths.folder(base) else base.partition("@")[0]


def with_start(chain, ladder):
    """The chain, and before its base the first checkpoint of its `ladder`, if that has more than one, as stage "start".

    Measures that compare with the first checkpoint then compare with the same one as in the ladder.
    """
    if len(ladder) == 1:
        return chain
    return ">".join([f"start={ladder[0].source.name}", *(f"{stage}={link}" for stage, link in links(chain).items())])


def ends(ladder):
    """The chain of a ladder's first and last checkpoint, stages "start" and "base"; None if it has only one."""
    if len(ladder) == 1 or ladder[0].bundled:
        return None
    return f"start={ladder[0].source.name}>base={ladder[-1].source.name}"


def _repository(model):
    """A name without revision, and a short name of Pythia's as its repository."""
    name = str(model).partition("@")[0]
    return f"EleutherAI/{name}" if name.startswith("pythia-") else name


def record(chain):
    """What training left beside the last stage: {stage: recipe, losses, evaluations}, or None."""
    last = Path(list(links(chain).values())[-1]).expanduser()
    path = last.parent / "history.json"
    return json.loads(path.read_text(encoding="utf-8")).get("stages") if path.is_file() else None

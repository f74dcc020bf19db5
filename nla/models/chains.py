"""Chains of stages: base model, fine-tuned, preference-trained ..., checkpoints that descend from one another.

A chain is a MODEL of its own, written ``base>sft>dpo`` of folders, short names or ids on the Hub, each with or without
@revision; of a link that is a ladder the last checkpoint counts. Stages are told from the names, or said, as in
``base>sft=link``. Those of ``chains.json`` go by a short name: Pythia tuned on Anthropic's HH or its helpful half
(O'Mahony et al., EleutherAI) and on summaries (Huang et al. 2024, arXiv:2403.17031; weights on revisions), OLMo, Tulu.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

from nla.models import paths

METHODS = ("sft", "dpo", "kto", "ppo", "grpo", "rlvr", "rlhf", "reward", "instruct", "chat")
CHAINS = {  # short name -> {stage: link}, in order
    "demo-chain": {"base": "demo", "sft": str(paths.DEMO / "sft"), "dpo": str(paths.DEMO / "dpo")},
    **json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8")),
}


def is_chain(model):
    """Whether MODEL is written as a chain, or is the short name of one."""
    return str(model) in CHAINS or (">" in str(model) and not paths.folder(model))


def links(model):
    """{stage: link} of a chain, in its order."""
    if str(model) in CHAINS:
        return CHAINS[str(model)]
    parts = paths.split(model)
    if len(parts) < 2 or not all(link for _, link in parts):
        raise ValueError(f"{model!r} is no chain: it takes base>sft, or base>sft>dpo, of folders or names")
    found = {}
    for place, (said, link) in enumerate(parts):
        name = said or (_method(link) if place else "base")
        count = sum(re.fullmatch(rf"{name}\d*", stage) is not None for stage in found)
        found[f"{name}{count + 1}" if count else name] = link
    return found


def _method(link):
    """The last training method that the name of a link gives, or else "stage"."""
    name = link.partition("@")[0].rstrip("/").split("/")[-1].lower()
    places = {name.rfind(method): method for method in METHODS if method in name}
    return places[max(places)] if places else "stage"


def checkpoints(model, resolve):
    """The checkpoints of a chain, in order: `step` counts the stages from 0, `stage` and `revision` name them.

    `resolve` turns one link into its list of checkpoints, the last of which is taken.
    """
    found = []
    for step, (stage, link) in enumerate(links(model).items()):
        if is_chain(link):
            raise ValueError(f"{link!r} is itself a chain; write its links out")
        found.append(replace(resolve(link)[-1], model=model, revision=stage, step=step, stage=stage, shift=0))
    return found


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
    if len(ladder) == 1:
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

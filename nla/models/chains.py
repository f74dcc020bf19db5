"""Chains of stages: base model, fine-tuned, preference-trained ..., checkpoints that descend from one another.

A chain is a MODEL, written ``base>sft>dpo`` of folders, short names or ids on the Hub, each with or without @revision.
Stages are told from names, or said: ``base>sft=link``. Those of ``chains.json`` go by a short name: Pythia tuned on HH
or its helpful half (O'Mahony et al.) and on summaries (Huang et al. 2024, arXiv:2403.17031, on revisions), OLMo, Tulu.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

from nla.models import paths
from nla.numerics import steps

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
        name = said or (steps.method(link) if place else "base")
        count = sum(re.fullmatch(rf"{name}\d*", stage) is not None for stage in found)
        found[f"{name}{count + 1}" if count else name] = link
    return found


def checkpoints(model, resolve):
    """The checkpoints of a chain, in order, of each link the last that `resolve` gives; `step` counts the stages."""
    found = []
    for step, (stage, link) in enumerate(links(model).items()):
        if is_chain(link):
            raise ValueError(f"{link!r} is itself a chain; write its links out")
        found.append(replace(resolve(link)[-1], model=model, revision=stage, step=step, stage=stage, shift=0))
    return found

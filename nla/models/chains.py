"""Chains of stages: base model, fine-tuned, preference-trained ..., checkpoints that descend from one another.

A chain is a MODEL of its own, written ``base>sft>dpo`` of folders, short names or ids on the Hub, each with or without
@revision; of a link that is a ladder the last checkpoint counts. Stages are told from the names, or said, as in
``base>sft=link``. The chains below go by a short name.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

from nla.models.paths import DEMO

METHODS = ("sft", "dpo", "kto", "ppo", "grpo", "rlvr", "rlhf", "reward", "instruct", "chat")


def _ending(base, repo, **ends):
    """{"base": its branch main, stage: `repo` and what its name ends in}."""
    return {"base": f"{base}@main"} | {stage: repo + end for stage, end in ends.items()}


def _hh(size, repo):
    """Fine-tuned on Anthropic's HH, all of it or its helpful half; O'Mahony et al., EleutherAI."""
    return _ending(f"EleutherAI/pythia-{size}", repo, sft="-sft@main", dpo="-dpo@main")


def _tldr(seed, sft, ppo):
    """Huang et al. 2024 (arXiv:2403.17031), summaries of Reddit posts; the weights are on revisions, main is empty."""
    repo, whiten = "vwxyzjn/EleutherAI_pythia-1b-deduped", "ppo_left_padding_new_nowhiten_reward"
    sft, ppo = f"__sft__tldr@sft__{seed}__{sft}", f"__{whiten}__tldr@{whiten}__{seed}__{ppo}"
    return _ending("EleutherAI/pythia-1b-deduped", repo, sft=sft, ppo=ppo)


def _tulu3(last):
    repo = "allenai/Llama-3.1-Tulu-3-8B"
    return _ending("meta-llama/Llama-3.1-8B", repo, sft="-SFT", dpo="-DPO") | {"rlvr": last}


def _olmo2(repo, **last):
    return _ending(repo, repo, sft="-SFT", dpo="-DPO", **last)


CHAINS = {  # short name -> {stage: link}, in order
    "demo-chain": {"base": "demo", "sft": str(DEMO / "sft"), "dpo": str(DEMO / "dpo")},
    **{
        f"pythia-{size}-helpful": _hh(size, f"lomahony/pythia-{size}-helpful")
        for size in ("70m", "160m", "410m", "1b", "1.4b", "2.8b")
    },
    **{f"pythia-{size}-hh": _hh(size, f"lomahony/eleuther-pythia{size}-hh") for size in ("410m", "2.8b", "6.9b")},
    **{f"pythia-{size}-hh": _hh(size, f"Leogrin/eleuther-pythia{size}-hh") for size in ("1b", "1.4b")},
    "pythia-1b-deduped-tldr": _tldr(44413, 1708611267, 1709671965),
    "pythia-1b-deduped-tldr-seed2": _tldr(55513, 1708611267, 1709671967),
    "olmo-2-1b": _olmo2("allenai/OLMo-2-0425-1B", rlvr="-RLVR1", rlvr2="-Instruct"),
    **{f"olmo-2-{size}": _olmo2(f"allenai/OLMo-2-1124-{size.upper()}", rlvr="-Instruct") for size in ("7b", "13b")},
    "tulu-3-8b": _tulu3("allenai/Llama-3.1-Tulu-3-8B"),
    "tulu-3.1-8b": _tulu3("allenai/Llama-3.1-Tulu-3.1-8B"),
}


def is_chain(model):
    """Whether MODEL is written as a chain, or is the short name of one."""
    return str(model) in CHAINS or ">" in str(model)


def links(model):
    """{stage: link} of a chain, in its order."""
    if str(model) in CHAINS:
        return CHAINS[str(model)]
    parts = [link.strip() for link in str(model).split(">")]
    if len(parts) < 2 or not all(parts):
        raise ValueError(f"{model!r} is no chain: it takes base>sft, or base>sft>dpo, of folders or names")
    found = {}
    for place, part in enumerate(parts):
        said, link = re.fullmatch(r"(?:(\w+)=)?(.+)", part).groups()
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
        found.append(replace(resolve(link)[-1], model=model, revision=stage, step=step, stage=stage))
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
    return base if Path(base).expanduser().is_dir() else base.partition("@")[0]


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

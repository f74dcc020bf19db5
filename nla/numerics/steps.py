"""Names of saved steps, of folders and branches alike -> one path through training, and what is not followed and why.

The standard library alone, because make asks before anything is set up.
"""

import re
from collections import namedtuple

Step = namedtuple("Step", "stage ingredient step tokens run form")  # tokens in 1e9; run: (prefix, seed); form: the rest
Rung = namedtuple("Rung", "name step stage shift")  # shift: by how much `step` is more than the name says

NUMBER = r"(\d{1,12}(?:\.\d{1,9})?)"
WORD = r"(?:(?:(?:global[-_]?)?steps?|checkpoints?|ckpt|iter(?:ation)?s?)[-_=]*)+"
STEP = re.compile(rf"(?<![^-_./ ]){WORD}{NUMBER}([km]?)(?![^\W_]|\.\d)", re.A)
TOKENS = re.compile(rf"[-_]?(?:tokens?)?[-_]?{NUMBER}([mbt])t?(?![^\W_])", re.A)
TOKENS_ALONE = re.compile(rf"(?:train|tokens?)[-_]?{NUMBER}([bt])|{NUMBER}([bt])[-_]?tokens?", re.A)
LIKE = re.compile(r"step|ckpt|(?<!ipynb_)checkpoint|(?<![a-z])(?:iter|epoch)|iter(?:ation|[-_]?\d)|train_\d|\d[bt]_tok")
WRITTEN = re.compile(r"\.|tmp[-_]|.*[-_.]tmp(?:[-_.]|$)|.*\.(?:temp|part|partial|incomplete)$", re.S)
METHODS = ("sft", "dpo", "kto", "ppo", "grpo", "rlvr", "rlhf", "reward", "instruct", "chat")
TIMES = {"": 1, "k": 1e3, "m": 1e6}
BILLIONS = {"m": 1e-3, "b": 1, "t": 1e3}


def parse(name):
    """The `Step` that the name of a folder or branch tells, or None.

    As step500, step-10k, checkpoint-500, ckpt_000, iter_0000500, global_step1000, step-715k-token-1499B,
    stage2-ingredient1-step1000-tokens5B, step1250-seed-default, step1000-hf; where tokens alone are counted, as in
    train_02200B, they are the step, in billions.
    """
    text = name.lower()
    match, alone = STEP.search(text), TOKENS_ALONE.fullmatch(text)
    if alone:
        tokens = float(alone[1] or alone[3]) * BILLIONS[alone[2] or alone[4]]
        return Step(1, 0, int(tokens), tokens, ("tokens", ""), "") if tokens == int(tokens) else None
    if WRITTEN.match(text) or not match or STEP.search(text, match.end()) or ("." in match[1] and not match[2]):
        return None
    head, tail, found = text[: match.start()], text[match.end() :], {}
    for part in ("(?:stage|phase)", "ingredient", "epoch"):
        inner = re.search(rf"(?<![^-_]){part}[-_=]?(\d{{1,9}})(?![^-_.])", head, re.A)
        found[part] = int(inner[1]) if inner else None
        head = head.replace(inner[0], "") if inner else head
    if tokens := TOKENS.match(tail):
        tail = tail[tokens.end() :]
        tokens = float(tokens[1]) * BILLIONS[tokens[2]]
    form, _, seed = re.fullmatch(r"(.*?)(?:[-_](seed)[-_]?(.*))?", tail, re.S).groups("")
    stage, ingredient, _ = found.values()
    step, run = round(float(match[1]) * TIMES[match[2]]), (re.sub(r"[-_./ ]+", "-", head).strip("-"), seed)
    return Step(1 if stage is None else stage, ingredient or 0, step, tokens, run, form.strip("-_. "))


def label(step):
    """What its stage is called in tables."""
    return "pretraining" if step is None or step.stage == 1 else f"stage{step.stage}"


def method(name):
    """The last method of `METHODS` that the name of a model tells, or else "stage"."""
    name = name.partition("@")[0].rstrip("/").split("/")[-1].lower()
    places = {name.rfind(method): method for method in METHODS if method in name}
    return places[max(places)] if places else "stage"


def follow(names, readable, folder=None):
    """One path through training along these names: a list of `Rung` in order, and {name: why it is not followed}.

    Of several names for one step the one that holds weights is taken, of the best if several do, as `readable` marks
    them, 0 for none. If several are as good, in a `folder` that is an error, and of branches the plainest is taken. Of
    several runs of a stage, ingredients or seeds, the first is followed. A stage that begins below the end of the one
    before starts anew: its steps are shifted by that end.
    """
    known = {name: step for name in sorted(names, key=_plain) if (step := parse(name))}
    odd = {name: name.lower() for name in names if name not in known}
    left = {name: "no step" for name, text in odd.items() if LIKE.search(text)}
    left |= {name: "being written" for name in left if WRITTEN.match(odd[name])}
    for twins in _grouped(known, lambda s: (s.stage, s.step, None if folder else _place(s))).values():
        marks = {name: readable(name) for name in twins} if len(twins) > 1 else {}
        there = [name for name in marks if marks[name] and marks[name] == max(marks.values())]
        left |= {n: f"as {there[0]}" if mark else "no weights" for n, mark in marks.items() if there and n not in there}
    rungs, end = [], 0
    for stage in sorted({step.stage for step in known.values()}):
        here = {name: step for name, step in known.items() if step.stage == stage and name not in left}
        runs = _grouped(here, _place)
        there = [run for run, held in runs.items() if run[0] == "" or len({known[n].step for n in held}) > 1]
        there = there or list(runs if "no weights" in left.values() else [])
        empty = {run: bool(folder) and not any(map(readable, runs[run])) for run in there}
        first = runs[min(there, key=lambda run: (empty[run], run))] if there else []
        left |= {name: "another ingredient, seed or prefix" for name in here if name not in first}
        steps = _grouped({name: known[name] for name in first}, lambda s: s.step)
        shift, before = (end if steps and min(steps) < end else 0), bool(rungs)
        for step, (name, *others) in sorted(steps.items()):
            if others and folder and readable(name):
                raise ValueError(f"{folder}: {name} and {others[0]} are the same step")
            left |= dict.fromkeys(others, f"as {name}")
            if before and step + shift == end:
                left[name] = "the end of the stage before"
            else:
                rungs.append(Rung(name, step + shift, label(known[name]), shift))
        end = rungs[-1].step if rungs else 0
    return rungs, left


def line(left):
    """What is not followed and why, in one line."""
    parts = []
    for why, names in _grouped(left, str).items():
        names = [name if name.isprintable() else repr(name) for name in sorted(names)]
        shown = names if len(left) <= 30 or len(names) <= 4 else [*names[:3], "...", names[-1]]
        why = why if why.isprintable() else repr(why)
        parts.append(f"{', '.join(shown)} ({why}{f', {len(names)} in all' if len(shown) < len(names) else ''})")
    return "; ".join(parts)


def _plain(name):
    """Stages said outright come first, then short names."""
    return not re.match("stage|phase", name.lower()), len(name), name


def _place(step):
    """Of the runs of a stage the least of these is followed: no prefix, no seed or the default, the first of others."""
    prefix, seed = step.run
    return prefix, ["", "default"].index(seed) if seed in ("", "default") else 2, len(seed), seed, step.ingredient


def _grouped(names, key):
    """{key of what a name stands for: the names}."""
    groups = {}
    for name, value in names.items():
        groups.setdefault(key(value), []).append(name)
    return groups

"""Low-rank factors through depth and through training: layers replaced one after the other, and every checkpoint."""

import copy
from contextlib import suppress
from functools import partial

import pandas as pd
import torch

from nla import low_rank, models
from nla.running.evaluation import CannotRun
from nla.running.losses import losses
from nla.running.resumed import Resumed
from nla.studies import runs
from nla.studies.low_rank_compression.budgets import all_factors, cut, loss_at, rank_for
from nla.studies.low_rank_compression.calibration import each_sound, input_moments, sound, text

TRUNCATED, AT_ONCE = "truncated SVD", "whitened, at once"
IN_TURN, CALIBRATED = "whitened, in turn", "in turn, calibrated"
WAYS = (TRUNCATED, AT_ONCE, IN_TURN, CALIBRATED)


def progressive(model, plain, factors, fit, held_out, ways=WAYS, layers=None, fraction=0.5, steps=10, lr=1e-3, batch=4):
    """Held-out loss while layers are replaced from the first to the last, by four ways of finding the factors.

    Plain truncation; whitening by what the layers of the whole model are given; by what they are given once those
    below are replaced; and that with `steps` steps of Adam on all factors so far after each layer, which lessen the
    divergence of the model's predictions from the whole model's on `fit`. All else stays as it is.

    Parameters
    ----------
    plain, factors : dict
        Of `budgets.all_factors`, without moments and with those of `model` on `fit`.
    layers : int, optional
        How many are replaced; None: all.
    fraction : float
        Of the parameters of each matrix.

    Returns
    -------
    pandas.DataFrame
        way, layers (how many are replaced), loss.
    """
    ranks = {key: rank_for((len(B), A.shape[1]), fraction) for key, (B, A) in factors.items()}
    whole, rows = losses(model, held_out).mean(), []
    for way in ways:
        student = copy.deepcopy(model)
        fitted, judged = Resumed(student, fit), Resumed(student, held_out)
        rows.append({"way": way, "layers": 0, "loss": whole})
        for count, layer in enumerate(list(dict.fromkeys(layer for _, layer in ranks))[:layers], 1):
            here = [key for key in ranks if key[1] == layer]
            chosen = plain if way == TRUNCATED else factors
            if way in (IN_TURN, CALIBRATED):
                run = partial(fitted.until, layer + 1)
                chosen = all_factors(student, input_moments(student, fit, here, run=run))
            put = lambda W, rank, key, chosen=chosen: cut(chosen[key], rank)  # noqa: E731
            low_rank.replace(student, {key: ranks[key] for key in here}, put)
            if way == CALIBRATED:
                calibrate(student, model, fit, steps, lr, batch, seed=layer)
            rows.append({"way": way, "layers": count, "loss": judged.losses().mean()})
            if way != CALIBRATED and count < len(judged.layers):  # whose layers below stay as they are
                judged.reach(layer + 1)
                if way == IN_TURN:
                    fitted.reach(layer + 1)
    return pd.DataFrame(rows)


def calibrate(student, teacher, windows, steps, lr=1e-3, batch=4, seed=0):
    """Train the low-rank factors of `student`, and nothing else, towards the predictions of `teacher`; in place.

    The divergence KL(teacher || student), per token, on `batch` windows at a step, drawn with `seed`; Adam, its rate
    falling linearly to 0.
    """
    generator = torch.Generator().manual_seed(seed)
    student.requires_grad_(False)
    trained = [p for m in student.modules() if isinstance(m, low_rank.LowRank) for p in m.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(trained, lr=lr)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        tokens = windows[torch.randint(len(windows), (batch,), generator=generator), :-1]
        with torch.no_grad():
            wanted = teacher(tokens, use_cache=False).logits.float().log_softmax(-1)
        found = student(tokens, use_cache=False).logits.float().log_softmax(-1)
        loss = (wanted.exp() * (wanted - found)).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student


def through_training(ladder, fit, held_out, fraction=0.25, alone=None):
    """How much the loss rises at each checkpoint when its matrices keep `fraction` of their parameters.

    Checkpoints that cannot be run are left out. `alone`: the kinds that are replaced alone too, by default every one.

    Returns
    -------
    pandas.DataFrame
        step, what (a kind, in all layers, or "all"), way ("truncated SVD", "whitened"), loss, rise, whole (the loss of
        the model as it is).
    """
    rows = []
    for checkpoint, model in each_sound(ladder):
        whole = losses(model, held_out).mean()
        ways = {"truncated SVD": all_factors(model), "whitened": all_factors(model, input_moments(model, fit))}
        for way, factors in ways.items():
            ranks = {key: rank_for((len(B), A.shape[1]), fraction) for key, (B, A) in factors.items()}
            kinds = dict.fromkeys(kind for kind, _ in ranks) if alone is None else alone
            kinds = kinds if way == "whitened" else ()
            parts = {"all": ranks} | {k: {key: r for key, r in ranks.items() if key[0] == k} for k in kinds}
            for what, chosen in parts.items():
                loss = loss_at(model, factors, chosen, held_out)
                row = {"step": checkpoint.step, "what": what, "way": way, "loss": loss, "rise": loss - whole}
                rows.append(row | {"whole": whole})
    return pd.DataFrame(rows)


def chosen(ladder):
    """About ten checkpoints, evenly spaced in log(step + 1), the last among them."""
    return models.choose(ladder, "log")[::-2][::-1]


def at_one(checkpoint, fraction=0.25):
    """`through_training` of one checkpoint; or `CannotRun`."""
    _, model = sound([checkpoint])
    return through_training([checkpoint], *text(checkpoint, model), fraction)


def through(ladder, fraction):
    """The same of each checkpoint of `ladder` that can be run, from this disk where it was made before."""
    found = []
    for checkpoint in ladder:
        with suppress(CannotRun):
            found.append(runs.at(partial(at_one, fraction=fraction), checkpoint))
    return pd.concat(found, ignore_index=True)


STANDARD = partial(at_one, fraction=0.25)
STANDARD.stored = True
RUNS = [(STANDARD, chosen)]

"""Whether to believe an alpha: seven checks, and a verdict for each matrix and checkpoint with its reasons.

They are those of the answer to "using alpha monitor the training process of the model" (WeightWatcher issue 307), which
has eight; the seventh compares matrices with one another, see `nla.studies.power_law_alpha.averages`.
"""

import numpy as np
import pandas as pd

from nla.models.errors import unknown

WORDS = ("SPURIOUS", "WEAK", "VALID")
# {check: {column: (least, most)}}; verdicts() says where each number comes from.
LIMITS = {
    "tail": {"tail_size": (50, None), "tail_share": (0.05, None), "tail_range": (3.0, None)},
    "fit": {
        "ks_distance": (None, 0.07),
        "goodness_p": (0.1, None),
        "lognormal_p": (0.1, None),
        "truncated_p": (0.1, None),
    },
    "stable": {
        "alpha_width": (None, 0.25),
        "finger_shift": (None, 0.5),
        "plateau": (None, 0.25),
        "jump": (None, 1.0),
    },
    "shape": {
        "dip": (None, 0.535),
        "gap_p": (0.01, None),
        "mp_departure": (3.0, None),
        "mp_softrank": (None, 0.95),
        "rand_ratio": (10.0, None),
    },
    "traps": {"trap_z": (None, 2.02)},
    "rank": {"unresolved": (None, 0.01)},
    "vectors": {"tail_entropy": (None, -2.0), "entropy_p": (None, 0.01)},
}
FITTED = ("tail", "fit", "stable", "shape")  # without these four there is no power law to speak of


def verdicts(table, **limits):
    """The table with the outcome of seven checks, a verdict, and the reasons for it, per matrix and checkpoint.

    Parameters
    ----------
    table : pandas.DataFrame
        Of a scan of `nla.power_law`, `nla.power_law_checks` and `nla.drift` together. Where only some have been
        measured the checks say what can be said.
    **limits : float
        Another threshold for a column. The default ones, and where they come from:

        1. tail large enough. ``tail_size`` >= 50: alpha-1 is then known to 14 %. ``tail_share`` >= 0.05.
           ``tail_range`` >= 3: 90 % of random matrices have 1.1 to 2.4.
        2. fit good. ``ks_distance`` <= 0.07: 90 % of random matrices have 0.11 to 0.15, a bulk with spikes 0.10 to
           0.13, 50 values of a power law 0.05 to 0.10, and 100 of them 0.04 to 0.08. ``goodness_p``, ``lognormal_p``,
           ``truncated_p`` >= 0.1: Clauset, Shalizi & Newman 2009.
        3. fit stable. ``alpha_width`` <= 0.25: 2 (1 - 1/alpha) / sqrt k for a power law of known xmin, 0.1 for k = 200;
           0.7 to 2 for random matrices. ``finger_shift`` <= 0.5 and ``jump`` <= 1: a half and all of the change at
           which WeightWatcher takes the largest eigenvalues for fingers. ``plateau`` <= 0.25, as ``alpha_width``.
           ``jump`` is |alpha - mean of alpha at the two neighbouring checkpoints|, at an end of one; without, no check.
        4. one mode, heavy-tailed, unlike random. ``dip`` <= 0.535: 95 % of uniform samples. ``gap_p`` >= 0.01.
           ``mp_departure`` >= 3 and ``rand_ratio`` (rand_distance over its random value) >= 10: 1 for random matrices.
           ``mp_softrank`` <= 0.95: 99 % of random matrices have more, from a short side of 128 on.
        5. no correlation traps. ``trap_z`` <= 2.02: the Tracy-Widom 99 % quantile.
        6. no rank collapse. ``unresolved`` <= 0.01: a square random matrix in fp16 has 0.0003.
        8. tail vectors of lower entropy than the bulk's. ``tail_entropy`` <= -2, in standard deviations of a random
           vector's; ``entropy_p`` <= 0.01.

    Returns
    -------
    pandas.DataFrame
        With ``check_tail``, ``check_fit``, ``check_stable``, ``check_shape``, ``check_traps``, ``check_rank``,
        ``check_vectors``: 1 passed, 0 failed, NaN not failed but not wholly measured. ``verdict``, an index of `WORDS`:
        2 VALID, all passed; 1 WEAK, the first four; 0 SPURIOUS, one of the first four failed; NaN undecided.
        ``reasons``: what failed, in words.
    """
    bounds = _bounds(limits)
    table = table.assign(jump=jumps(table))
    if "rand_distance" in table:
        table["rand_ratio"] = table.rand_distance / table.rand_distance_random
    outcome = _outcomes(table, bounds)
    first, others = (np.stack([outcome[c] for c in outcome if (c in FITTED) == side]) for side in (True, False))
    first, others = first.min(0), others.min(0)  # of 1, NaN, 0 coded as 1, 0.5, 0
    verdict = np.select([first == 0, first == 0.5, others == 1, others == 0], [0, np.nan, 2, 1], np.nan)
    table = table.assign(**{f"check_{c}": np.where(v == 0.5, np.nan, v) for c, v in outcome.items()}, verdict=verdict)
    return table.assign(reasons=_reasons(table, bounds))


def nothing_against(measured):
    """Whether one row of measurements fails none of the checks that it has the columns for."""
    return all(value > 0 for value in _outcomes(measured, LIMITS).values())


def jumps(table):
    """|alpha - mean of alpha at the neighbouring checkpoints of `table`| of each row; NaN if there are none."""
    ordered = table.sort_values("step", kind="stable")
    alpha = ordered.groupby([c for c in ("model", "stage", "kind", "layer") if c in table], sort=False).alpha
    beside = pd.concat([alpha.shift(1), alpha.shift(-1)], axis=1).mean(axis=1)
    return (ordered.alpha - beside).abs().reindex(table.index)


def word(verdict):
    """VALID, WEAK or SPURIOUS; undecided for NaN."""
    return "undecided" if np.isnan(verdict) else WORDS[int(verdict)]


def _bounds(limits):
    """LIMITS with other thresholds."""
    columns = {column for check in LIMITS.values() for column in check}
    for name in limits:
        if name not in columns:
            raise ValueError(unknown("threshold", name, sorted(columns)))
    changed = {}
    for check, bounds in LIMITS.items():
        changed[check] = {
            column: tuple(limits.get(column, bound) if bound is not None else None for bound in pair)
            for column, pair in bounds.items()
        }
    return changed


def _outcomes(table, bounds):
    """{check: 1 where every column is within its bounds, 0 where one is not, 0.5 where one is not known}."""
    outcome = {}
    for check, columns in bounds.items():
        passed = 1.0
        for column, (least, most) in columns.items():
            values = np.asarray(table[column], dtype=float) if column in table else np.array(np.nan)
            inside = values >= least if least is not None else values <= most
            missing = np.isnan(values) if column != "jump" else False  # the only checkpoint has no neighbours
            passed = np.minimum(passed, np.where(missing, 0.5, inside | np.isnan(values)))
        outcome[check] = np.broadcast_to(passed, np.shape(table["alpha"]))
    return outcome


def _reasons(table, bounds):
    """What failed in each row: "tail_size 23 < 50; ..."."""
    failed = [[] for _ in range(len(table))]
    for columns in bounds.values():
        for column, (least, most) in columns.items():
            for i, value in enumerate(table.get(column, ())):
                if least is not None and value < least:
                    failed[i].append(f"{column} {value:.3g} < {least:g}")
                elif most is not None and value > most:
                    failed[i].append(f"{column} {value:.3g} > {most:g}")
    return ["; ".join(reasons) for reasons in failed]

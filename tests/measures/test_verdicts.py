"""Each bound of a verdict decides."""

import numpy as np
import pandas as pd
import pytest

import nla
from nla.measures.verdicts import FITTED, LIMITS, word
from nla.studies.power_law_alpha.planted import planted
from tests.helpers.power_law import everything, gaussian_spectrum, matrix_of


def test_noise_is_spurious_by_the_whole_verdict():
    rows = []
    for layer in range(12):
        weight = np.random.default_rng(layer).standard_normal((96, 96))
        matrix = matrix_of(weight, layer=layer)
        rows.append({"kind": "dense", "layer": layer, "step": 0, **everything(matrix)})
    table = nla.verdicts(pd.DataFrame(rows))
    assert (table.verdict == 0).all() and (table.check_traps == 1).mean() > 0.8 and (table.check_rank == 1).all()
    assert not table.check_vectors.any() and not table.check_shape.any()


def good_row(**changes):
    row = {"kind": "dense", "layer": 0, "step": 0, "alpha": 3.0, "rand_distance": 1.0, "rand_distance_random": 0.01}
    for bounds in LIMITS.values():
        for column, (least, most) in bounds.items():
            row[column] = least * 1.1 if least is not None else most - abs(most) / 10
    return {k: v for k, v in (row | changes).items() if k not in ("jump", "rand_ratio")}


@pytest.mark.parametrize("check", LIMITS)
def test_every_bound_matters(check):
    assert nla.verdicts(pd.DataFrame([good_row()])).verdict[0] == 2
    for column, (least, most) in LIMITS[check].items():
        if column in ("jump", "rand_ratio"):
            continue
        bad = least * 0.9 if least is not None else most + abs(most) / 10
        table = nla.verdicts(pd.DataFrame([good_row(**{column: bad})]))
        assert table[f"check_{check}"][0] == 0 and table.reasons[0].startswith(column)
        assert table.verdict[0] == (0 if check in FITTED else 1)
        missing = nla.verdicts(pd.DataFrame([good_row(**{column: np.nan})]))
        assert np.isnan(missing.verdict[0]) and np.isnan(missing[f"check_{check}"][0])
        relaxed = nla.verdicts(pd.DataFrame([good_row(**{column: bad})]), **{column: bad})
        assert relaxed.verdict[0] == 2
    with pytest.raises(ValueError, match="tail_size"):
        nla.verdicts(pd.DataFrame([good_row()]), tail_sise=3)


def test_rand_distance_and_jumps_count():
    assert nla.verdicts(pd.DataFrame([good_row(rand_distance=0.05)])).verdict[0] == 0
    table = pd.DataFrame([good_row(step=s, alpha=a) for s, a in [(8, 3.0), (0, 3.1), (4, 5.0), (16, 3.0)]])
    judged = nla.verdicts(table)
    assert judged.jump.tolist() == pytest.approx([1.0, 1.9, 1.95, 0.0])
    assert judged.verdict.tolist() == [2, 0, 0, 2]
    other = pd.concat([table, table.assign(layer=1, alpha=9.0)], ignore_index=True)
    assert nla.verdicts(other).jump.tolist() == pytest.approx([1.0, 1.9, 1.95, 0.0, 0, 0, 0, 0])


def test_without_the_checks_a_bad_spectrum_is_already_spurious():
    rng = np.random.default_rng(22)
    noise = nla.power_law(gaussian_spectrum(96, 96, rng))
    fine = nla.power_law(planted("tail", 512))
    table = nla.verdicts(
        pd.DataFrame([{"kind": k, "layer": 0, "step": 0, **f} for k, f in (("a", noise), ("b", fine))])
    )
    assert table.verdict[0] == 0 and np.isnan(table.verdict[1]) and fine["valid"] == 1
    assert [word(v) for v in (*table.verdict, 1, 2)] == ["SPURIOUS", "undecided", "WEAK", "VALID"]

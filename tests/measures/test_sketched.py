"""The spectrum from sketches beside the exact one."""

import numpy as np
import pytest
import torch

import nla
from nla.measures.sketched import AUTO, ERRORS, Sketched, sketched_spectrum
from tests.helpers.sketch import gaussian, spiked


@pytest.mark.parametrize("shape", [(500, 120), (150, 150)])
def test_sketched_spectrum_agrees_with_the_exact_one(shape):
    for seed, W in enumerate((gaussian(*shape), spiked(*shape))):
        for kind in ("query", "value", "dense"):  # other seeds of the sketch
            matrix = nla.Matrix(kind, seed, 0, W.float())
            exact, found = nla.spectrum(matrix), sketched_spectrum(matrix)
            assert found["sketched"] is True
            for name in ERRORS:
                assert abs(found[name] - exact[name]) <= 2 * found[f"{name}_error"] + 1e-4 * exact[name], name
            for name in ERRORS[:3]:
                assert found[f"{name}_relative"] / found[name] == pytest.approx(exact[f"{name}_relative"] / exact[name])


def test_scan_marks_what_is_sketched_and_keeps_tables_apart(ladder):
    options = dict(steps=[0, 100], workers=4)  # every shorter side of this ladder is 42
    exact = nla.scan(str(ladder), nla.spectrum, **options)
    found = nla.scan(str(ladder), [nla.norms, nla.spectrum], sketch=42, **options)
    again = nla.scan(str(ladder), [nla.norms, nla.spectrum], sketch=42, **options)
    none = nla.scan(str(ladder), nla.spectrum, sketch=43, **options)
    assert "sketched" not in exact and again.attrs["summary"]["reused"] == 2
    assert found.sketched.all() and not none.sketched.any() and none.attrs["summary"]["done"] == 2
    columns = ["stable_rank", "numerical_rank", "condition_number"]
    assert np.allclose(none[columns].to_numpy(float), exact[columns].to_numpy(float), rtol=1e-9)
    assert np.allclose(none.effective_rank_error, 0) and (found.effective_rank_error > 0).all()
    assert "spectral" in found and "numerical_rank" not in found
    assert np.allclose(found.stable_rank, exact.stable_rank, rtol=0.05)
    assert "sketched" not in nla.scan(str(ladder), nla.spectrum, **options)


def test_the_shorter_side_decides():
    measure = Sketched(60)
    large, small = (measure(nla.Matrix("dense", 0, 0, torch.randn(90, n))) for n in (60, 59))
    assert (large["sketched"], small["sketched"]) == (True, False) and "singular_values" in small


def test_scan_says_what_cannot_be_sketched(ladder):
    with pytest.raises(ValueError, match="auto"):
        nla.scan(str(ladder), nla.spectrum, sketch="large")
    with pytest.raises(ValueError, match="none of the measures can be sketched"):
        nla.scan(str(ladder), nla.norms, sketch="auto")
    auto = nla.scan(str(ladder), nla.spectrum, steps=[0], sketch="auto", workers=4)
    assert not auto.sketched.astype(bool).any() and Sketched(AUTO).pure

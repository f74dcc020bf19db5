"""What is said of losses with parts removed."""

import pandas as pd

from nla.studies import removals


def test_what_is_said_of_rises():
    rises = pd.DataFrame({"kind": ["query", "value"] * 2, "stage": ["base", "base", "sft", "sft"]})
    rises = rises.assign(rise=[0.0, 0.001, -0.00001, 0.005], error=[0.001, 0.001, 0.001, 0.0015])
    assert removals.grown(rises, "stage", "base", "sft") == ["value"]
    assert removals.grown(rises, "stage", "base", "sft", errors=3) == []
    text = removals.thousandths(rises, "stage", "rise")
    assert [line.split() for line in text.splitlines()[2:]] == [
        ["base", "0.0", "±1.0", "1.0", "±1.0"],
        ["sft", "0.0", "±1.0", "5.0", "±1.5"],
    ]
    tenths = pd.DataFrame({"kind": "dense", "layer": -1, "part": [9, 10], "loss": [1.0, 1.2], "loss_error": [0.1, 0.1]})
    assert removals.upturns(tenths) == ["dense"] and removals.upturns(tenths, 2) == []

"""The standard figures: what they draw."""

import matplotlib.pyplot as plt
import pandas as pd

import nla
from nla import figures


def test_copies_are_told_from_what_was_trained(ladder):
    table = pd.DataFrame(
        {
            "revision": ["step0", "step1", "step2", "step3", "step4", "step5"],
            "step": range(6),
            "duplicate_of": [None, "step0", None, None, "step2", "step2"],
        }
    )
    assert figures.copied(table) == {1, 2, 4}  # step 1 is step 0 again; steps 2 and 4 hold the last one's weights
    assert figures.copied(table[["step"]]) == set()
    lines = figures.over_steps(nla.scan(str(ladder), nla.norms, kinds=["query"]), "rms").axes[0].lines
    hollow = [line.get_xdata().tolist() for line in lines if line.get_markerfacecolor() == "white"]
    assert hollow == [[1], [1]]  # of both layers


def test_vector_copies_where_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("NLA_FIGURES", str(tmp_path))
    fig, ax = plt.subplots()
    ax.plot([0, 1])
    assert figures.save(fig, "00_line", "demo").is_file() and not list(tmp_path.rglob("*.pdf"))
    monkeypatch.setenv("NLA_PDF", "1")
    figures.save(fig, "00_line", "demo")
    assert (tmp_path / "demo" / "00_line.pdf").read_bytes().startswith(b"%PDF")
    plt.close(fig)

"""What notebooks take for granted of `demo`, on a ladder where nothing is even."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import nla
from nla import figures
from nla.figures import parts
from nla.studies.biases_layernorms import plots
from nla.studies.fine_tuning_stages import stage_plots
from nla.studies.sparsity import row_norm_plots, row_norms
from tests.helpers.crooked import SPOILT, VOCABULARY, crooked_ladder


@pytest.fixture(scope="module")
def crooked(tmp_path_factory):
    return str(crooked_ladder(tmp_path_factory.mktemp("crooked") / "ladder", steps=(0, 1, 16)))


def test_is_as_crooked_as_it_says(crooked):
    table = nla.scan(crooked, [nla.drift, nla.vectors], progress=False)
    first, last = (table[table.step == s].set_index(["kind", "layer"]) for s in (0, 16))
    assert last[~last.finite].index.tolist() == [("dense_4h_to_h", 1)] and "layers.1.mlp.down_proj" in SPOILT
    assert (first.rows["embed_in", -1], last.rows["embed_in", -1]) == VOCABULARY
    assert first.rows["query", 0] == 2 * first.rows["key", 0]
    assert (first.bias_l2.dropna() == 0).all() and (last.bias_l2.dropna() > 0).all()
    assert (table.relative_distance[table.step == 1] > 1e-3).all()


def test_heads_of_queries_beside_the_keys_that_they_meet(crooked):
    with nla.load(crooked) as weights:
        heads = row_norms.by_head(weights.matrices(["query", "key", "value", "dense"]), 1.0)
        key = weights.matrix("key", 1).values.view(2, 8, 32).norm(dim=2).argmax(1)
    assert heads.groupby("kind").size().to_dict() == {"query": 12, "dense": 12, "key": 6, "value": 6}
    fig, met = row_norm_plots.by_head(heads), row_norms.met(heads)
    assert met[met.layer == 1].sort_values("place").index_key.tolist() == np.repeat(key.numpy(), 2).tolist()
    assert sum(bool(ax.get_title()) for ax in fig.axes) == 4


def test_what_is_left_out_everywhere_is_not_drawn(tmp_path, capsys):
    nothing = pd.DataFrame({"kind": [], "layer": [], "step": [], "size": []})
    for draw in (figures.over_steps, figures.over_layers, figures.heatmap):
        figures.show(draw(nothing, "size"), "00_none", "tiny")
        assert capsys.readouterr().out == "figure 00_none: nothing of tiny can be shown here\n"
    assert not (tmp_path / "figures" / "tiny" / "00_none.png").exists()
    fig, axs = parts.layer_panels(nothing)
    figures.steps_bar(fig, list(axs), [])
    assert not axs and not fig.axes
    heads = row_norms.by_head([], 1.0)
    assert row_norms.met(heads).empty and not row_norm_plots.by_head(heads).axes


def test_a_panel_without_a_number_of_its_own_says_so(tmp_path, capsys):
    fig, axs = plt.subplots(1, 6)
    for ax in axs:
        ax.axhline(1, color=figures.GREY, zorder=0)
    axs[1].plot([0, 1], [np.nan, np.nan])
    axs[2].scatter([0], [np.nan])
    axs[3].scatter([0], [2])
    axs[4].imshow([[np.nan, 1]])
    axs[5].plot([0, 1], [np.nan, 1], ".")
    figures.show(fig, "00_some", "tiny")
    assert [[text.get_text() for text in ax.texts] for ax in axs] == [["nothing to show"]] * 3 + [[]] * 3
    fig, ax = plt.subplots()
    ax.imshow([[np.nan, np.nan]])
    figures.show(fig, "00_none", "tiny")
    assert capsys.readouterr().out.splitlines()[-1] == "figure 00_none: nothing of tiny can be shown here"
    assert [path.name for path in (tmp_path / "figures" / "tiny").iterdir()] == ["00_some.png"]


def test_an_axis_with_nothing_above_zero_stays_linear(tmp_path):
    fig, axs = plt.subplots(1, 2, sharey=True)
    axs[0].plot([0, 0])
    figures.log_axis(axs[0].yaxis)
    assert axs[0].get_yscale() == "linear"
    figures.show(fig, "00_zero", "tiny")
    axs[1].plot([1, 10])
    figures.log_axis(axs[0].yaxis)
    assert axs[0].get_yscale() == axs[1].get_yscale() == "log"


def test_a_ladder_that_was_never_trained(tmp_path):
    """Its updates are zero and have no rank, its biases no size: figures of them are empty, and nothing stops."""
    ladder = str(crooked_ladder(tmp_path / "ladder", steps=(0, 1), rate=0, spoilt=None))
    table = nla.scan(ladder, [nla.update, nla.vectors, nla.drift], progress=False)
    updates = table.assign(update=parts.PRETRAINING)
    assert (updates.delta_norm.dropna() == 0).all() and updates.delta_stable_rank.isna().all()
    assert not stage_plots.by_size(table, updates, {}).axes
    biased = table[table.bias_rms > 0]
    plots.noise_walk(figures.over_steps(biased, "bias_rms", log=True), np.ones(3))
    assert not plots.chance_band(figures.over_steps(biased, "bias_mean"), biased, "rows").axes

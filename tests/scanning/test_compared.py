"""What a checkpoint is compared with may lack a matrix, or not be there at all: that costs the comparison alone."""

import re
import shutil

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

import nla
from tests.helpers.ladders import branches

EVERY = [nla.norms, nla.drift, nla.update, nla.subspaces, nla.sparsity, nla.vectors]
COMPARING = ["frobenius_relative", "distance", "update_norm", "change_spectral", "rms_growth"]


@pytest.fixture
def chain(tmp_path):
    """Makes a chain base > sft of two tiny Qwen2, each with its own settings; returns its MODEL."""

    def make(base, sft):
        for seed, (name, more) in enumerate({"base": base, "sft": sft}.items()):
            torch.manual_seed(seed)
            sizes = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 48}
            heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
            config = Qwen2Config(**{**sizes, **heads, **more})
            Qwen2ForCausalLM(config).save_pretrained(tmp_path / name)
        return f"{tmp_path / 'base'}>{tmp_path / 'sft'}"

    return make


@pytest.mark.parametrize(
    "base, sft, alone, notes",
    [
        (
            {},
            {"tie_word_embeddings": False},
            lambda t: t.kind == "embed_out",
            ["sft: embed_out has no matrix to compare with at base"],
        ),
        (
            {},
            {"num_hidden_layers": 3},
            lambda t: t.layer > 0,
            [r"sft: .* in layer 1, .* and 10 more have no matrix to compare with at base"],
        ),
        (
            {},
            {"vocab_size": 104},
            lambda t: t.kind == "embed_in",
            [f"sft: embed_in has another shape at the {which} checkpoint" for which in ("initial", "previous")],
        ),
        (
            {},
            {"hidden_size": 40},
            lambda t: t.layer >= -1,
            [
                f"sft: .* in layer 0, embed_in and 4 more have another shape at the {which} checkpoint"
                for which in ("initial", "previous")
            ],
        ),
    ],
)
def test_a_matrix_that_the_other_has_not(chain, capsys, base, sft, alone, notes):
    model = chain(base, sft)
    table = nla.scan(model, EVERY)
    later = table[table.revision == "sft"]
    hit = later[alone(later)]
    assert len(hit) and hit.frobenius.notna().all() and hit.rand_distance.notna().all()
    assert hit[["distance", "update_norm", "rms_growth"]].isna().all(axis=None)
    assert later[~alone(later)][COMPARING].notna().all(axis=None)
    said = [line for line in table.attrs["summary"]["notes"] if line.startswith("sft")]
    assert said and table.attrs["summary"]["failed"] == {}
    assert len(said) == len(notes) and all(map(re.fullmatch, notes, said)), said
    assert nla.scan(model, EVERY).attrs["summary"]["notes"][-len(said) :] == said  # also of tables on disk
    shown = capsys.readouterr().err
    assert [shown.count(line) for line in said] == [1] * len(said)


def test_none_where_the_other_has_no_such_matrix(chain):
    with nla.load(chain({}, {"tie_word_embeddings": False})) as weights:
        matrix = weights.matrix("embed_out")
        assert matrix.initial is None and matrix.previous is None and matrix.at("initial") is None
        assert matrix.final.step == 1 and matrix.sibling("query", needed=False) is None
        with pytest.raises(ValueError, match="has no query in layer -1"):
            matrix.sibling("query")


GONE = ["GET /api/.*/tree/{}", "HEAD .*/resolve/{}/model", "GET /lfs/.*{}"]


@pytest.mark.parametrize("where", GONE)
@pytest.mark.parametrize("code", [404, 503])
@pytest.mark.parametrize("place", [0, 1])
def test_a_checkpoint_that_cannot_be_had(hub, ladder, where, code, place):
    shutil.rmtree(ladder / "step1")  # whose bytes are those of step0
    hub.add("acme/tiny", branches(ladder))
    gone = nla.checkpoints("acme/tiny")[place]
    whole = nla.scan(str(ladder), EVERY)
    hub.fault("status", where.format(gone.commit), code=code, times=10**6)
    with pytest.warns(UserWarning, match=f"acme/tiny {gone.revision} left out: "):
        table = nla.scan("acme/tiny", EVERY)
    assert list(table.attrs["summary"]["failed"]) == [gone.revision]
    assert len(table.attrs["summary"]["notes"]) == 1
    assert f"what compares with {gone.revision} is NaN" in table.attrs["summary"]["notes"][0]
    rest = whole[whole.revision != gone.revision].reset_index(drop=True)
    assert table.revision.tolist() == rest.revision.tolist()
    assert table.frobenius.tolist() == pytest.approx(rest.frobenius.tolist())
    assert table[["distance", "rms_growth"]].isna().all(axis=None) == (place == 0)
    assert table[table.step == 100].update_norm.isna().all() == (place == 1)
    with pytest.warns(UserWarning, match=f"{gone.revision} left out"):  # asked again, in vain: nothing is measured anew
        again = nla.scan("acme/tiny", EVERY)
    assert again.attrs["summary"]["done"] == 0
    hub.heal()
    healed = nla.scan("acme/tiny", EVERY)
    assert healed.attrs["summary"]["failed"] == {} and healed.attrs["summary"]["notes"] == []
    for column in COMPARING:
        np.testing.assert_allclose(healed[column], whole[column])


def test_a_measure_that_asks_for_it_itself_gets_no_row(acme):
    first = nla.checkpoints("acme/tiny")[0]
    acme.fault("status", f"HEAD .*/resolve/{first.commit}/model", code=503, times=10**6)

    def moved(matrix):
        return {"moved": float((matrix.values - matrix.initial.values).norm()) if matrix.initial else 0.0}

    with pytest.warns(UserWarning, match="step0 left out"):
        table = nla.scan("acme/tiny", [moved, nla.norms])
    assert "moved" not in table or table.moved.isna().all()
    assert table.frobenius.notna().all()

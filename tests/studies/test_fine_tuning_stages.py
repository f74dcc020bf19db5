"""Controls of the stages, and what a random update does."""

import copy
import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

import nla
from nla import models
from nla.demo import stages, train
from nla.figures import parts
from nla.nulls.recipes import Recipe
from nla.running import evaluation, texts
from nla.studies import stored
from nla.studies.fine_tuning_stages import controls, fine_tuning, stage_changes
from nla.studies.fine_tuning_stages.shaken import BRIEF, Shaken, shaken


def test_fine_tuning_with_a_part_taken_out(model):
    rng = np.random.default_rng(0)
    examples = [(list(rng.integers(4, 97, 5)), [7, 8, 9, 2]) for _ in range(fine_tuning.TRAINED + 6)]
    before = copy.deepcopy(model.state_dict())
    recipe = Recipe(peak=5e-3, steps=6, warmup=1)
    losses, table = fine_tuning.before_and_after(model, examples, recipe=recipe)
    again = fine_tuning.before_and_after(model, examples, recipe=recipe)
    assert losses["after"] < losses["before"] - 0.5 and losses == pytest.approx(again[0], rel=1e-3)
    pd.testing.assert_frame_equal(table, again[1], rtol=1e-2, atol=1e-3)
    assert all(torch.equal(before[n], tensor) for n, tensor in model.state_dict().items())
    assert set(table.taken) == {"untuned", "before", "after"} and len(table) == 18 and (table.error >= 0).all()
    mean = fine_tuning.answer_losses(model, examples[-6:]).mean()
    assert mean == pytest.approx(losses["before"]) and losses["before"] > 0
    with pytest.raises(ValueError, match="needs two more"):
        fine_tuning.before_and_after(model, examples[:5])


def test_what_is_kept_of_fine_tuning_comes_out_again():
    """One stage and one kind of the stored table, others every day, measured anew."""
    rng = np.random.default_rng(date.today().toordinal())
    record = stored.kept("random_matrix_theory/fine_tuning")
    table = pd.DataFrame(record["tables"]["later"]["rows"], columns=record["tables"]["later"]["columns"])
    row = table.iloc[rng.integers(len(table))]
    (checkpoint,) = (c for c in nla.checkpoints("demo-chain") if c.stage == row.stage)
    assert record["weights"][checkpoint.revision] == checkpoint.source.content()
    pairs = texts.held_out()["pairs"]
    examples = fine_tuning.sequences(texts.tokenizer(checkpoint), pairs, evaluation.LENGTH)
    found = fine_tuning.by_stage([checkpoint], examples[::2], [row.kind]).iloc[0]
    assert found.rise == pytest.approx(row.rise, abs=2e-5) and found.error == pytest.approx(row.error, abs=2e-5)


def test_answers_in_chat_format_and_as_source():
    bpe = Tokenizer.from_file(str(nla.models.DEMO / "tokenizer.json"))
    pairs = texts.held_out()["pairs"][:4]
    (prompt, answer), *_ = fine_tuning.sequences(bpe, pairs)
    assert prompt[0] == 2 and prompt[-1] == 3 and answer[-1] == 0 and bpe.decode(answer[:-1]) == pairs[0][2]
    assert fine_tuning.sequences(bpe, pairs, most=1) == []

    class Plain:
        token_to_id, encode = staticmethod(lambda token: None), bpe.encode

    prompt, answer = fine_tuning.sequences(Plain(), pairs)[0]
    assert bpe.decode(prompt + answer) == f'{pairs[0][0]}\n    """{pairs[0][2]}"""\n'


@pytest.fixture
def chain(ladder):
    """step0 > step20 > step100 of the tiny ladder, written out."""
    return f"{ladder}/step0>{ladder}/step20>{ladder}/step100"


def test_stored_controls_are_as_long_as_the_stages_and_on_the_same_text(chain):
    how = json.loads(controls.RESULTS.read_text())["how"]
    record = json.loads((models.DEMO / "history.json").read_text())
    assert how["corpus"]["sha256"] == record["corpus"]["sha256"]
    assert how["recipes"] == {s: record["stages"][s]["recipe"] for s in ("sft", "dpo")}
    table = controls.of_chain("demo-chain")
    assert (table.groupby(["stage", "seed"]).size() == 38).all() and set(table.stage) == {"sft", "dpo"}
    assert table.delta_norm.between(1e-4, 0.2).all() and (table.delta_stable_rank >= 1).all()
    assert controls.of_chain(chain) is None


def test_a_control_by_hand(tmp_path):
    """Two updates of the end of pretraining on other text: numbers of the files that are left, and the same again."""
    source = tmp_path / "source"
    source.mkdir()
    for i in range(12):
        (source / f"m{i}.py").write_text("".join(f"def f_{i}_{j}(x, y={j}):\n    return x\n" for j in range(150)))
    recipe = Recipe(2e-4, steps=2, warmup=1)
    for name in ("a.json", "b.json"):
        controls.main(tmp_path / name, seeds=(3,), recipes={"sft": recipe}, root=source, batch=2)
    rows, again = (json.loads((tmp_path / name).read_text())["updates"] for name in ("a.json", "b.json"))
    pd.testing.assert_frame_equal(pd.DataFrame(rows), pd.DataFrame(again), rtol=1e-3, atol=1e-4)
    texts, _ = train.corpus(1234, source)
    bpe = stages.tokenizers.Tokenizer.from_file(str(models.DEMO / "tokenizer.json"))
    losses = controls.go_on(models.DEMO, train.token_windows(bpe, texts), recipe, 3, tmp_path / "out", batch=2)
    then = load_file(nla.checkpoints("demo")[-1].fetch() / "model.safetensors")
    now = load_file(tmp_path / "out" / "model.safetensors")
    assert len(losses) == 2 and len(rows) == 38
    name = "gpt_neox.layers.3.mlp.dense_h_to_4h.weight"
    row = next(r for r in rows if (r["kind"], r["layer"]) == ("dense_h_to_4h", 3))
    D, W = now[name].double() - then[name].double(), then[name].double()
    assert row["delta_norm"] == pytest.approx(float(D.norm() / W.norm()), rel=1e-4) and row["delta_norm"] > 0
    assert row["delta_stable_rank"] == pytest.approx(float((D.norm() / torch.linalg.matrix_norm(D, 2)) ** 2), rel=1e-4)


def frame(step, values, name="rms"):
    return pd.DataFrame({"kind": "query", "layer": range(len(values)), "step": step, name: values})


def test_changes_of_opposite_sign_do_not_cancel():
    before = pd.concat([frame(0, [1.0, 1.0, 1.0, 1.0]), frame(1, [1.1, 0.9, 1.1, 0.9])])
    found = stage_changes.changes(before, before[:0].assign(stage=None))
    np.testing.assert_allclose(found.rms, [10, -10, 10, -10])
    random = pd.concat([found.assign(rms=found.rms / k, draw=k) for k in (2, 5)])
    table = stage_changes.change_table(found, random)[parts.PRETRAINING]
    assert table.loc["rms"].to_dict() == pytest.approx({"change": 10, "random": 5, "rising": 0.5})
    assert list(stage_changes.change_table(found)[parts.PRETRAINING]) == ["change", "rising"]
    assert len(stage_changes.changes(frame(0, [1.0]), before[:0].assign(stage=None))) == 0  # a single checkpoint


def test_shaken_weights_are_moved_by_noise_of_the_norm_asked_for(ladder):
    with nla.load(str(ladder), 100) as weights:
        sizes = {("query", 0): 0.3, ("dense_h_to_4h", 1): 0.01}
        shaken = [Shaken(weights, sizes, seed) for seed in (0, 0, 1)]
        for kind, layer in weights.index():
            W = weights.matrix(kind, layer).values.double()
            moved = [each.matrix(kind, layer).values.double() for each in shaken]
            size = sizes.get((kind, layer), 0.0)
            assert float((moved[0] - W).norm() / W.norm()) == pytest.approx(size, rel=0.01)
            assert torch.allclose(moved[0], moved[1]) and torch.allclose(moved[0], moved[2]) == (size == 0)
        noise = [each.matrix("dense_h_to_4h", 1).values.double() for each in shaken[1:]]
        noise = [(each - weights.matrix("dense_h_to_4h", 1).values.double()).flatten() for each in noise]
        assert abs(float(torch.corrcoef(torch.stack(noise))[0, 1])) < 4 / len(noise[0]) ** 0.5
        matrix = shaken[0].matrix("dense_4h_to_h", 1)  # not moved, but what stands beside it is
        assert torch.allclose(matrix.sibling("dense_h_to_4h").weight, shaken[0].matrix("dense_h_to_4h", 1).weight)
        assert torch.equal(shaken[0].matrix("query", 0).initial.weight, weights.matrix("query", 0).initial.weight)
        assert matrix.weight.dtype == weights.matrix("dense_4h_to_h", 1).weight.dtype


def test_brief_measures_are_those_of_the_series(ladder):
    """And none of the columns that changes are told of is lost."""
    with nla.load(str(ladder), 100) as weights:
        for measure, brief in BRIEF.items():
            for matrix in weights.matrices(getattr(brief, "kinds", None)):
                whole, found = measure(matrix), brief(matrix)
                assert set(found) == set(whole) & set(stage_changes.COLUMNS)
                assert {name: float(value) for name, value in found.items()} == pytest.approx(
                    {name: whole[name] for name in found}, rel=1e-9
                )


def test_what_is_kept_of_removal_comes_out_again():
    """The base or what comes from it, of one kind of the stored table, others every day, measured anew."""
    rng, record = np.random.default_rng(date.today().toordinal()), stored.kept("fine_tuning_stages/removal")
    table = pd.DataFrame(record["tables"]["rows"], columns=record["tables"]["columns"])
    first, *later = nla.checkpoints("demo-chain")
    assert list(record["weights"].values()) == [c.source.content() for c in (first, *later)]
    kind, chosen = rng.choice(table.kind.unique()), [first, later[rng.integers(len(later))]]
    found = fine_tuning.removal(chosen, texts.tokenizer(first), **record["how"], kinds=[kind])
    wanted = table[(table.kind == kind) & table.stage.isin([c.stage for c in chosen])].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-3, atol=2e-5)


def test_measures_after_a_random_update(ladder):
    table = shaken(str(ladder), 100, {("query", 0): 0.5}, [nla.norms, nla.spectrum], draws=2)
    assert len(table) == 2 and set(table.draw) == {0, 1} and table.rms.nunique() == 2
    with nla.load(str(ladder), 100) as weights:
        matrix = Shaken(weights, {("query", 0): 0.5}, 1).matrix("query", 0)
    assert table.stable_rank[1] == pytest.approx(nla.spectrum(matrix)["stable_rank"], rel=1e-6)

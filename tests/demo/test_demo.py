"""The embedded model is what it claims to be: Pythia's initialisation, really trained, and made by train.py."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest

import nla
from nla.demo import train
from nla.nulls.recipes import Recipe
from nla.running import language, training


def test_step_0_is_marchenko_pastur_with_the_closed_form_variance():
    recipe = nla.recipe("demo")
    with nla.load("demo", step=0) as weights:
        config = weights.config
        matrices = list(weights.matrices())
    assert len(matrices) == 6 * 6 + 2
    for matrix in matrices:
        sigma = recipe.initial_std(matrix.kind, config.hidden_size, config.num_hidden_layers)
        distance = kstest(matrix.singular_values, lambda s, m=matrix, g=sigma: nla.nulls.mp_cdf(s, *m.shape, g))
        assert distance.statistic < 6 / len(matrix.singular_values), (matrix.kind, matrix.layer)


def test_training_moved_the_spectra_and_the_loss():
    saved = nla.history("demo")["saved"]
    # The logits of the initialised model are N(0, h 2/5h), which costs half their variance above a uniform guess.
    assert saved[0]["held_out_loss"] == pytest.approx(np.log(1024) + 0.2, abs=0.02)
    assert saved[-1]["held_out_loss"] < 2.2
    beyond = {}
    with nla.load("demo") as weights:
        for matrix in weights.matrices(["query", "key", "value", "dense", "dense_h_to_4h", "dense_4h_to_h"]):
            sigma = nla.measures.lp_norm(matrix, 2) / matrix.weight.numel() ** 0.5
            edge = nla.nulls.spectral_norm(*matrix.shape, sigma, nla.nulls.TRACY_WIDOM_Q99)
            beyond.setdefault(matrix.kind, []).append(int((matrix.singular_values > edge).sum()))
    assert min(map(min, beyond.values())) >= 2 and min(map(np.median, beyond.values())) >= 5, beyond


def test_recorded_loss_is_that_of_the_files():
    """Held-out loss at the last step, measured again on other text: far below the uniform guess."""
    import tokenizers

    bpe = tokenizers.Tokenizer.from_file(str(nla.checkpoints("demo")[0].folder.parent / "tokenizer.json"))
    assert bpe.get_vocab_size() == 1024
    text = Path(json.__file__).read_text()
    assert bpe.decode(bpe.encode(text).ids) == text
    windows = train.token_windows(bpe, {"json": text})[:8]
    losses = {}
    for checkpoint in (nla.checkpoints("demo")[0], nla.checkpoints("demo")[-1]):
        with torch.no_grad():
            losses[checkpoint.step] = training.token_loss(language.language_model(checkpoint), windows).item()
    assert losses[0] == pytest.approx(np.log(1024) + 0.2, abs=0.05)
    assert losses[4000] < 2.5


def test_bytes_that_never_occur_only_decay():
    """Bytes that valid UTF-8 has not get no gradient: their rows measure the weight decay of the whole run."""
    import tokenizers

    bpe = tokenizers.Tokenizer.from_file(str(nla.checkpoints("demo")[0].folder.parent / "tokenizer.json"))
    never = [bpe.token_to_id(t) for t in ("<|padding|>", "<|user|>", "<|assistant|>")]
    with nla.load("demo") as weights:
        matrix = weights.matrix("embed_in")
        now, then = matrix.values[never], matrix.initial.values[never]
    ratio = ((now * then).sum() / (then * then).sum()).item()
    assert ratio == pytest.approx(float(nla.recipe("demo").decay(4000)), rel=1e-3)


def test_training_is_reproducible_from_source(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for i in range(12):
        text = "".join(f"def f_{i}_{j}(x, y={j}):\n    return x * {i} + y\n\n\n" for j in range(60))
        (source / f"m{i}.py").write_text(text)
    (source / "tests").mkdir()
    (source / "tests" / "left_out.py").write_text("secret = 1")
    for name in ("a", "b"):
        train.train(tmp_path / name, Recipe(1e-3, steps=2, warmup=1), seed=7, root=source)
    assert nla.scan(str(tmp_path / "a"), lambda m: {"sum": m.values.double().sum()}).sum().sum != 0
    one, two = (json.loads((tmp_path / n / "history.json").read_text()) for n in ("a", "b"))
    assert one["corpus"] == two["corpus"]
    assert pd.DataFrame(one["saved"]).to_numpy() == pytest.approx(pd.DataFrame(two["saved"]).to_numpy(), rel=1e-4)
    assert one["corpus"]["train_files"] == 11 and one["corpus"]["held_out_files"] == 1
    assert [s["step"] for s in one["saved"]] == [0, 1, 2]
    with nla.load(str(tmp_path / "a"), 1) as first, nla.load(str(tmp_path / "b"), 2) as last:
        assert torch.equal(first.matrix("query", 0).weight, first.matrix("query", 0).initial.weight)  # rate 0 at first
        assert not torch.equal(last.matrix("query", 0).weight, last.matrix("query", 0).initial.weight)
    model = language.language_model(nla.checkpoints(str(tmp_path / "a"))[-1])
    assert model.config.rotary_pct == 0.25 if hasattr(model.config, "rotary_pct") else True

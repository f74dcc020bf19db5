"""A checkpoint is run on a text, or it is said why not."""

import re
import shutil

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import nla
from nla.running import evaluation, language, losses, texts
from nla.studies.fine_tuning_stages import fine_tuning
from nla.studies.low_rank_compression import calibration
from nla.studies.random_matrix_theory import overlaps
from tests.helpers.activations import FakeBpe, family
from tests.helpers.families import CONFIGS, build

TOKENS = torch.randint(0, 50, (6, 14), generator=torch.Generator().manual_seed(0))


def with_tokenizer(folder, *more):
    """The embedded tokenizer in a folder, with further special tokens; how many ids it has."""
    bpe = Tokenizer.from_file(str(nla.models.DEMO / "tokenizer.json"))
    bpe.add_special_tokens(list(more))
    bpe.save(str(folder / "tokenizer.json"))
    return bpe.get_vocab_size()


@pytest.mark.parametrize("name", ["gpt_neox", "bert", "llama"])
def test_a_folder_is_run_on_the_text_or_it_is_said_why_not(name, tmp_path, monkeypatch):
    settings = CONFIGS[name] | {"vocab_size": 1025, "max_position_embeddings": 40}
    build(name, **settings).save_pretrained(tmp_path / "m")
    checkpoint = nla.checkpoints(str(tmp_path / "m"))[0]
    with pytest.raises(evaluation.CannotRun, match=r"no tokenizer\.json beside the weights"):
        evaluation.running(checkpoint)
    with_tokenizer(tmp_path / "m", "[MASK]")
    with pytest.raises(evaluation.CannotRun, match="more than 3e\\+08 entries"):
        evaluation.running(checkpoint, 1e12)
    text = tmp_path / "text"
    text.write_text("def f(x):\n    return x\n" * 60)
    monkeypatch.setenv("TEXT", str(text))
    now = evaluation.running(checkpoint)
    assert now.windows.shape[1] == 41 and texts.texts() == [text.read_text()]
    assert 3 < now.losses(now.model).mean() < 15 and len(now.losses(now.model)) == len(now.windows)
    text.write_text("x")
    with pytest.raises(evaluation.CannotRun, match="shorter"):
        evaluation.running(checkpoint)
    with_tokenizer(tmp_path / "m", *(f"<{i}>" for i in range(5)))
    with pytest.raises(evaluation.CannotRun, match=r"tokenizer\.json has 1029 tokens, the model 1025"):
        evaluation.running(checkpoint)


def test_what_cannot_be_run_is_named_and_what_can_is_given_what_it_can_read(tmp_path):
    """A chain of which one link has no head, one NaN; windows as long as the positions of the shorter model."""
    from transformers import AutoModel

    settings = CONFIGS["gpt2"] | {"vocab_size": 1025, "max_position_embeddings": 40}
    whole = build("gpt2", **settings | {"tie_word_embeddings": False})
    whole.save_pretrained(tmp_path / "whole")
    AutoModel.from_pretrained(tmp_path / "whole").save_pretrained(tmp_path / "headless")
    with torch.no_grad():
        whole.transformer.h[1].mlp.c_fc.weight[0, 0] = torch.nan
    whole.save_pretrained(tmp_path / "spoilt")
    links = [with_tokenizer(tmp_path / name) and str(tmp_path / name) for name in ("whole", "headless", "spoilt")]
    chain = nla.checkpoints(">".join(links))
    assert evaluation.sound(chain[0]).config.n_positions == 40 == evaluation.room(evaluation.sound(chain[0]).config)
    for link, why in ((1, "missing tensors lm_head.weight"), (2, "NaN or infinity in transformer.h.1.mlp.c_fc.weight")):
        with pytest.raises(evaluation.CannotRun, match=re.escape(why)):
            evaluation.sound(chain[link])
        with pytest.raises(evaluation.CannotRun, match=f"^{chain[link].revision}: {re.escape(why)}"):
            fine_tuning.removal([chain[0], chain[link]], fine_tuning.tokenizer(chain, 1), answers=True, kinds=["query"])
    checkpoint, _ = calibration.sound(chain)
    assert checkpoint == chain[0]
    found = fine_tuning.removal([chain[0]] * 2, fine_tuning.tokenizer(chain, 1), answers=False, kinds=["query"])
    assert np.isfinite(found.source).all()
    examples = fine_tuning.examples(evaluation.running(chain[0]))
    assert examples and max(len(prompt) + len(answer) for prompt, answer in examples) <= 40


def test_a_bert_without_its_head_can_be_read_but_not_scored(tmp_path):
    family("bert").bert.save_pretrained(tmp_path / "m")
    shutil.copy(nla.models.DEMO / "tokenizer.json", tmp_path / "m")
    model = language.headless_model(nla.checkpoints(str(tmp_path / "m"))[0])
    assert losses.losses_on(model, FakeBpe(), TOKENS) is None
    assert len(overlaps.overlaps(model, TOKENS)) == 18

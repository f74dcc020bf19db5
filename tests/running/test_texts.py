"""Texts, windows and tokenizers."""

import json

import nla
from nla.running import language, losses, texts as running_texts


def test_windows_and_tokenizer():
    last = nla.checkpoints("demo-chain")[-1]
    bpe = running_texts.tokenizer(last)
    assert bpe.get_vocab_size() == 1024
    texts = ["def f(x):\n    return x\n" * 5, "y = 1\n" * 20]
    windows = running_texts.windows(bpe, texts, 16)
    stream = [i for text in texts for i in bpe.encode(text).ids]
    assert windows.shape == ((len(stream) - 1) // 16, 17)
    assert windows[0].tolist() == stream[:17] and windows[1].tolist() == stream[16:33]


def test_no_tokenizer(ladder):
    assert running_texts.tokenizer(nla.checkpoints(str(ladder))[0]) is None


def test_held_out_text_is_not_what_the_model_was_trained_on():
    """Its loss on the excerpts is well above the one on training text, as on all held-out files."""
    text, record = running_texts.held_out(), nla.history("demo")["saved"][-1]
    last = nla.checkpoints("demo")[-1]
    found = losses.loss(
        language.language_model(last), running_texts.windows(running_texts.tokenizer(last), text["source"])[:24]
    )
    assert record["train_loss"] + 0.4 < found < 2.6
    assert len(text["pairs"]) >= 100 and all(parameters for _, parameters, _ in text["pairs"])
    assert "PSF" in text["notice"] and json.dumps(text).isascii()

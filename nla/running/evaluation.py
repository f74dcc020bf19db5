"""A checkpoint as a running model with a text that it can read, and its losses there; or why there is none."""

from dataclasses import dataclass

import torch

from nla.running import language, texts as running_texts
from nla.running.losses import losses_on
from nla.running.texts import texts

LENGTH = 256  # tokens of a window, where the model can read as many
MOST = 3e8  # entries of the matrices of a model that is run


@dataclass(frozen=True)
class Running:
    """One checkpoint made to run.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    bpe : tokenizers.Tokenizer
    windows : torch.Tensor
        (n, length + 1) token ids of `texts`.
    losses : function or None
        See `losses_on`.
    """

    model: object
    bpe: object
    windows: object
    losses: object


def running(checkpoint, entries=0):
    """(`Running`, "") of a checkpoint, or (None, why not): no tokenizer, too large, too little text, NaN.

    `entries` is how many its matrices have, where that is known before the model is loaded.
    """
    if entries > MOST:
        return None, f"its matrices have more than {MOST:g} entries"
    bpe = running_texts.tokenizer(checkpoint)
    if bpe is None:
        return None, "there is no tokenizer.json beside the weights"
    model = language.fast_attention(language.headless_model(checkpoint))
    if max(bpe.get_vocab().values()) >= model.get_input_embeddings().weight.shape[0]:
        return None, "its tokenizer.json has more tokens than the model"
    if not all(torch.isfinite(p).all() for p in model.parameters()):
        return None, "its weights hold NaN or Inf"
    length = min(LENGTH, getattr(model.config, "max_position_embeddings", LENGTH))
    windows = running_texts.windows(bpe, texts(), length)
    if len(windows) < 2:
        return None, "the text is shorter than two windows"
    return Running(model, bpe, windows, losses_on(model, bpe, windows)), ""

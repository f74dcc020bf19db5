"""A checkpoint as a running model with a text that it can read, and its losses there; or why there is none."""

import os
from dataclasses import dataclass

import torch

from nla import language
from nla.store import root

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
    bpe = language.tokenizer(checkpoint)
    if bpe is None:
        return None, "there is no tokenizer.json beside the weights"
    model = language.fast_attention(language.headless_model(checkpoint))
    if max(bpe.get_vocab().values()) >= model.get_input_embeddings().weight.shape[0]:
        return None, "its tokenizer.json has more tokens than the model"
    if not all(torch.isfinite(p).all() for p in model.parameters()):
        return None, "its weights hold NaN or Inf"
    length = min(LENGTH, getattr(model.config, "max_position_embeddings", LENGTH))
    windows = language.windows(bpe, texts(), length)
    if len(windows) < 2:
        return None, "the text is shorter than two windows"
    return Running(model, bpe, windows, losses_on(model, bpe, windows)), ""


def texts():
    """What models are evaluated on: the source excerpts of `language.held_out`, or the file that TEXT=path names.

    TEXT is a variable of the environment, or of make; the path is absolute or seen from the project's folder.
    """
    path = os.environ.get("TEXT")
    return [(root() / path).read_text(encoding="utf-8")] if path else language.held_out()["source"]


@torch.no_grad()
def masked_losses(model, windows, mask, at_once=16, share=0.15):
    """Mean cross-entropy, nats per masked token, of each window of ids (n, length), of which a `share` is masked.

    `mask` is the id of the token that stands for those; they are the same in each call, and none is left or exchanged.
    """
    hidden, found = torch.zeros(windows.shape, dtype=torch.bool), []
    count = max(1, round(share * windows.shape[1]))  # in each window, so that each weighs the same
    places = torch.rand(windows.shape, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :count]
    hidden.scatter_(1, places, True)
    for part, where in zip(windows.split(at_once), hidden.split(at_once), strict=True):
        logits = model(part.masked_fill(where, mask)).logits[where].float()
        each = torch.nn.functional.cross_entropy(logits, part[where], reduction="none").double()
        found.append(each.view(len(part), count).mean(1))
    return torch.cat(found).cpu().numpy()


def losses_on(model, bpe, windows):
    """The function of a running model that gives its losses on `windows`, (n,), or None.

    `language.losses`, or `masked_losses`. None where the model has no head that predicts tokens, or should predict
    masked ones and the tokenizer `bpe` has no token for them, [MASK] or <mask>.
    """
    if model.get_output_embeddings() is None:
        return None
    if model.config.model_type not in language.MASKED:
        return lambda model: language.losses(model, windows)
    masks = [i for i in map(bpe.token_to_id, ("[MASK]", "<mask>")) if i is not None]
    return (lambda model: masked_losses(model, windows[:, :-1], masks[0])) if masks else None

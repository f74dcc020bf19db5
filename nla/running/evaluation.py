"""A checkpoint as a running model with a text that it can read, and its losses there; or why not."""

from dataclasses import dataclass

from nla.running import language, texts as running_texts
from nla.running.losses import losses_on
from nla.running.texts import texts

LENGTH = 256  # tokens of a window, where the model can read as many


class CannotRun(Exception):
    """A model that is not run on text; the message says why in a few words."""


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


def running(checkpoint, entries=0, most=3e8):
    """`Running` of a checkpoint whose matrices have at most so many entries; or `CannotRun`.

    `entries` is how many there are, where that is known before the model is loaded.
    """
    if entries > most:
        raise CannotRun(f"its matrices have more than {most:g} entries")
    bpe = tokenizer_for(checkpoint, language.configuration(checkpoint).vocab_size)  # before the model is fetched
    model = language.fast_attention(language.headless_model(checkpoint))
    if spoiled(model):
        raise CannotRun("its weights hold NaN or Inf")
    length = min(LENGTH, getattr(model.config, "max_position_embeddings", LENGTH))
    windows = running_texts.windows(bpe, texts(), length)
    if len(windows) < 2:
        raise CannotRun("the text is shorter than two windows")
    return Running(model, bpe, windows, losses_on(model, bpe, windows))


def tokenizer_for(checkpoint, tokens):
    """The tokenizer of a checkpoint whose model knows so many tokens; or `CannotRun`."""
    bpe = running_texts.tokenizer(checkpoint)
    if bpe is None:
        raise CannotRun("there is no tokenizer.json beside the weights")
    if (held := 1 + max(bpe.get_vocab().values())) > tokens:
        raise CannotRun(f"its tokenizer.json has {held} tokens, the model {tokens}")
    return bpe


def spoiled(model):
    """Names of the parameters of `model` with NaN or infinity."""
    return [name for name, p in model.named_parameters() if not p.isfinite().all()]

"""A checkpoint as a running model with a text that it can read, and its losses there; or why not."""

from dataclasses import dataclass

from nla.models.errors import NoWeights
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
    model = sound(checkpoint, language.headless_model)
    windows = running_texts.windows(bpe, texts(), room(model.config))
    if len(windows) < 2:
        raise CannotRun("the text is shorter than two windows")
    return Running(model, bpe, windows, losses_on(model, bpe, windows))


def sound(checkpoint, load=language.language_model):
    """The model of a checkpoint with fast attention; `CannotRun` where tensors of it are missing or hold NaN."""
    try:
        model = language.fast_attention(load(checkpoint))
    except (ValueError, NoWeights) as error:
        raise CannotRun(str(error).rpartition(": ")[2]) from error
    if names := spoiled(model):
        raise CannotRun(f"NaN or infinity in {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else ""))
    return model


def room(config, most=LENGTH):
    """How many tokens a model of this configuration is given at once: `most`, or as many as it can read."""
    return min(most, getattr(config, "max_position_embeddings", None) or most)


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

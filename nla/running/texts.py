"""Texts that models are run on, cut into windows of token ids."""

import json
import os
from importlib.resources import files

import torch

from nla.models.errors import NotThere
from nla.models.paths import root


def texts():
    """What models are evaluated on: the source excerpts of `texts.held_out`, or the file that TEXT=path names.

    TEXT is a variable of the environment, or of make; the path is absolute or seen from the project's folder.
    """
    path = os.environ.get("TEXT")
    return [(root() / path).read_text(encoding="utf-8")] if path else held_out()["source"]


def held_out():
    """Text that every machine has alike: {"source": excerpts of Python, "pairs": [signature, parameters, docstring]}.

    From files that the embedded model was not trained on.
    """
    return json.loads(files("nla.demo").joinpath("held_out.json").read_text(encoding="utf-8"))


def tokenizer(checkpoint):
    """The `tokenizers.Tokenizer` of a checkpoint, or None where there is no tokenizer.json.

    It lies beside the weights or in the folder above, or in the repository on the Hub.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(checkpoint.source.file("tokenizer.json")))
    except NotThere:
        return None


def windows(bpe, texts, length=256):
    """`texts` one after the other as token ids, cut into (n, length + 1); neighbours share a token."""
    ids = [i for text in texts for i in bpe.encode(text, add_special_tokens=False).ids]
    if len(ids) <= length:
        return torch.empty(0, length + 1, dtype=torch.long)
    return torch.tensor(ids[: (len(ids) - 1) // length * length + 1]).unfold(0, length + 1, length)

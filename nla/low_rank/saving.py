"""Models with low-rank layers as a whole: written to disk, read again, multiplied out."""

import copy

import torch
from torch import nn

from nla.low_rank.layers import LowRank, place, replace
from nla.matrices.in_memory import in_memory
from nla.models.errors import CheckpointError
from nla.models.folder import read_config

FILE = "low_rank"  # model.low_rank.safetensors: what does not know of factors finds no weights, rather than wrong ones


def described(model):
    """What of `model` was replaced, as `load` needs it: a list of dicts with the arguments of `replace`."""
    return [module.made_by for module in model.modules() if isinstance(module, LowRank)]


def save(model, folder):
    """Write a model with low-rank layers: config.json, which says what was replaced, and the factors.

    In the model's dtype. `load` reads it; transformers alone needs what `multiplied` makes.
    """
    model.config.low_rank = described(model)
    model.save_pretrained(folder, variant=FILE)
    del model.config.low_rank


def load(folder, **options):
    """The transformers model of `save`, of the class that it was; `options` go to its from_pretrained."""
    import transformers
    from transformers.utils import logging

    config = read_config(folder)
    replaced = getattr(config, "low_rank", None)
    if replaced is None:
        raise CheckpointError(f"{folder}: config.json names no low-rank layers; from_pretrained reads this model")
    base = getattr(transformers, config.architectures[0])

    def with_factors(self, config, *args, **kwargs):
        base.__init__(self, config, *args, **kwargs)
        for one in replaced:
            how = dict(one)
            replace(self, {(how.pop("kind"), how.pop("layer")): how.pop("rank")}, **how)
        for module in self.modules():
            if any(name == "c_proj" and isinstance(child, LowRank) for name, child in module.named_children()):
                module._is_hf_initialized = True  # GPT-2 would initialise the weight of what was replaced

    # Under the name and module of its base, for which transformers renames tensors of the file.
    compressed = type(base.__name__, (base,), {"__init__": with_factors, "__module__": base.__module__})
    logging.disable_progress_bar()
    model, report = compressed.from_pretrained(folder, variant=FILE, output_loading_info=True, **options)
    if report["missing_keys"] or report["unexpected_keys"]:
        wrong = sorted([*report["missing_keys"], *report["unexpected_keys"]])
        raise CheckpointError(f"{folder}: the factors do not fit config.json: {', '.join(wrong[:3])}")
    model.__class__ = base
    del model.config.low_rank
    return model.eval()


@torch.no_grad()
def multiplied(model):
    """A copy in which each pair of factors is one matrix again: what any tool reads, as large as before.

    A layer that gained a bias where its family has none keeps it, and then only `load` will do.
    """
    from transformers.pytorch_utils import Conv1D

    model = copy.deepcopy(model)
    layout = in_memory(model)
    places = dict(place(layout, how["kind"], how["layer"]) for how in described(model))
    for path, part in places.items():
        module = model.get_submodule(path)
        W, b = module.affine()
        if isinstance(module, LowRank) and isinstance(module.down, nn.Embedding):
            dense, values = nn.Embedding(*W.T.shape), W.T
        elif part.transposed:
            dense, values = Conv1D(*W.shape), W.T
        else:
            dense, values = nn.Linear(W.shape[1], W.shape[0], b is not None), W
        dense.weight.copy_(values)
        if b is not None:
            dense.bias.copy_(b)
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, dense.to(W.device, W.dtype))
    return model

"""Checkpoints as running language models, with no tensor missing."""

import torch

from nla.models.folder import read_config

MASKED = ("bert",)  # model_type of the families that predict masked tokens, not the next one


def language_model(checkpoint):
    """The transformers model of a checkpoint, in float32 and evaluation mode; no tensor of it may be missing.

    Of a family that predicts masked tokens (`MASKED`) that model, of the others the one that predicts the next token.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    return _loaded(AutoModelForMaskedLM if _is_masked(checkpoint) else AutoModelForCausalLM, checkpoint)


def headless_model(checkpoint):
    """`language_model`, or where the files hold no head that predicts tokens, what comes before it."""
    from transformers import AutoModel

    try:
        return language_model(checkpoint)
    except ValueError:
        return _loaded(AutoModel, checkpoint, **({"add_pooling_layer": False} if _is_masked(checkpoint) else {}))


def fast_attention(model):
    """`model`, with the attention of PyTorch where it knows how: the same numbers in less time and memory."""
    if model._supports_sdpa and not getattr(model.config, "attn_logit_softcapping", None):
        model.set_attn_implementation("sdpa")
    return model


def _is_masked(checkpoint):
    return read_config(checkpoint.fetch()).model_type in MASKED


def _loaded(model_class, checkpoint, **options):
    from transformers.utils import logging

    logging.disable_progress_bar()
    how = {"dtype": torch.float32, "attn_implementation": "eager", "trust_remote_code": False} | options
    with checkpoint.source.held() as folder:  # or another process may evict it before it is read
        model, loading = model_class.from_pretrained(folder, output_loading_info=True, **how)
    if loading["missing_keys"]:
        first, *more = sorted(loading["missing_keys"])
        raise ValueError(f"{folder}: missing tensors {first}" + (f" and {len(more)} more" if more else ""))
    return model.eval()


def configuration(checkpoint):
    """The transformers configuration of a checkpoint; of one on the Hub config.json alone is fetched."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(checkpoint.source.file("config.json"))

"""Models counted without memory: parameters, and the rank at which factors hold as many."""

import copy

import torch


def skeleton(config):
    """The language model that `config` describes, on the meta device: every shape, no numbers.

    Parameters
    ----------
    config : transformers.PreTrainedConfig, or dict with its entries, model_type among them
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**config) if isinstance(config, dict) else copy.deepcopy(config)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def parameters(model, trainable=False):
    """How many parameters a model has, shared ones once; only those that training changes if `trainable`."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def break_even(shape):
    """The rank mn / (m + n) at which two factors hold as much as the m x n matrix."""
    m, n = shape
    return m * n / (m + n)

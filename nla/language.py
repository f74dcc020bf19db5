"""Checkpoints as running language models: what their own forward pass computes, to hold ours against."""

import torch


def language_model(checkpoint):
    """The transformers model of a checkpoint, in float32 and evaluation mode; no tensor may be missing."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, loading = AutoModelForCausalLM.from_pretrained(
        checkpoint.path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    if loading["missing_keys"]:
        raise ValueError(f"{checkpoint.path}: missing tensors {sorted(loading['missing_keys'])}")
    return model.eval()


@torch.no_grad()
def capture_attention(model, tokens):
    """What each attention layer of `model` receives and computes for single tokens, by the model's own code.

    Every token stands alone at position 0, where rotary embeddings turn nothing, so that query, key and value are
    linear in the layer's input.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    tokens : torch.Tensor
        (n,) token ids.

    Returns
    -------
    list of dict
        Per layer ``input`` (n, d_model) and ``query, key, value`` (n, heads * d_head), heads in order.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    inputs, projected = [], []

    def capturing(module, query, key, value, *args, **kwargs):
        projected.append([t[:, :, 0].flatten(1) for t in (query, key, value)])  # (n, heads, 1, d_head) each
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, *args, **kwargs)

    def before(module, args, kwargs):
        inputs.append((args[0] if args else kwargs["hidden_states"])[:, 0])

    attentions = [m for name, m in model.named_modules() if name.endswith((".attention", ".self_attn"))]
    hooks = [m.register_forward_pre_hook(before, with_kwargs=True) for m in attentions]
    ALL_ATTENTION_FUNCTIONS.register("capturing", capturing)
    usual, model.config._attn_implementation = model.config._attn_implementation, "capturing"
    try:
        model(tokens[:, None], use_cache=False)
    finally:
        model.config._attn_implementation = usual
        for hook in hooks:
            hook.remove()
    return [{"input": x, "query": q, "key": k, "value": v} for x, (q, k, v) in zip(inputs, projected, strict=True)]

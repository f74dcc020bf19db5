"""What each attention layer of a running model receives and computes, by the model's own code."""

import torch

ATTENTION = (".attention", ".self_attn", ".attn", ".self_attention")  # what families call the module


@torch.no_grad()
def capture_attention(model, tokens):
    """What each attention layer of `model` receives and computes for single tokens, by the model's own code.

    Every token stands alone at position 0, where rotary embeddings turn nothing, and norms of queries and keys, where
    a family has them, are passed by, so that query, key and value are affine in the layer's input. A token alone
    attends to itself whatever its query and key, so this changes nothing in the layers above.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    tokens : torch.Tensor
        (n,) token ids.

    Returns
    -------
    list of dict
        Per layer ``input`` (n, d_model), ``query`` (n, heads * d_head) and ``key, value`` (n, key heads * d_head),
        heads in order.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    inputs, projected = [], []

    def keep(*parts):
        projected.append([t[:, :, 0].flatten(1) for t in parts])  # query, key, value: (n, heads, 1, d_head) each

    def capturing(module, query, key, value, *args, **kwargs):
        scaling = kwargs.get("scaling") or 1  # of scores; OPT, which passes 1, has scaled its queries instead
        keep(query * scaling / (getattr(module, "scaling", None) or scaling), key, value)
        kwargs["softcap"] = None  # Gemma 2's, which sdpa refuses: the score of a token alone is of no consequence
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, *args, **kwargs)

    def before(module, args, kwargs):
        inputs.append((args[0] if args else kwargs["hidden_states"])[:, 0])

    attentions, hooks = _hooked(model, before)
    without_interface = [m for m in attentions if hasattr(m, "_reshape")]
    for module in without_interface:
        _part_through(module, module._reshape, keep)
    ALL_ATTENTION_FUNCTIONS.register("capturing", capturing)
    usual, model.config._attn_implementation = model.config._attn_implementation, "capturing"
    try:
        model(tokens[:, None], use_cache=False)
    finally:
        model.config._attn_implementation = usual
        for hook in hooks:
            hook.remove()
        for module in without_interface:
            del module._reshape
    return [{"input": x, "query": q, "key": k, "value": v} for x, (q, k, v) in zip(inputs, projected, strict=True)]


def _hooked(model, before):
    """(attention modules, hooks): `before` is called before each of them, norms of queries and keys are passed by."""
    named = list(model.named_modules())
    attentions = [m for name, m in named if name.endswith(ATTENTION)]
    norms = [m for name, m in named if name.endswith((".q_norm", ".k_norm"))]
    hooks = [m.register_forward_pre_hook(before, with_kwargs=True) for m in attentions]
    return attentions, hooks + [m.register_forward_hook(lambda module, args, out: args[0]) for m in norms]


def _part_through(module, split, keep):
    """Hand on what BLOOM's attention, which has no such interface, parts its heads into at one place."""
    module._reshape = lambda fused: (parts := split(fused), keep(*parts))[0]

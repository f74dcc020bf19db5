"""Checkpoints as running language models: what their own forward pass computes, and their loss on text."""

import json
from importlib.resources import files

import torch

from nla.patience import NotThere, patiently
from nla.weights import read_config

MASKED = ("bert",)  # model_type of the families that predict masked tokens, not the next one
ATTENTION = (".attention", ".self_attn", ".attn", ".self_attention")  # what families call the module


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
    return read_config(checkpoint.path).model_type in MASKED


def _loaded(model_class, checkpoint, **options):
    from transformers.utils import logging

    from nla import hub

    logging.disable_progress_bar()
    how = {"dtype": torch.float32, "attn_implementation": "eager", "trust_remote_code": False} | options
    with hub.held(checkpoint) as folder:  # or another process may evict it before it is read
        model, loading = model_class.from_pretrained(folder, output_loading_info=True, **how)
    if loading["missing_keys"]:
        raise ValueError(f"{folder}: missing tensors {sorted(loading['missing_keys'])}")
    return model.eval()


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

    def parting(module, split):  # BLOOM has no such interface, but one place where it parts its heads
        module._reshape = lambda fused: (parts := split(fused), keep(*parts))[0]

    named = list(model.named_modules())
    attentions = [m for name, m in named if name.endswith(ATTENTION)]
    hooks = [m.register_forward_pre_hook(before, with_kwargs=True) for m in attentions]
    norms = [m for name, m in named if name.endswith((".q_norm", ".k_norm"))]
    hooks += [m.register_forward_hook(lambda module, args, out: args[0]) for m in norms]
    without_interface = [m for m in attentions if hasattr(m, "_reshape")]
    for module in without_interface:
        parting(module, module._reshape)
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


def loss(model, windows, at_once=16):
    """Mean cross-entropy of `model`, nats per token, on `windows` of token ids, (n, length + 1)."""
    return float(losses(model, windows, at_once).mean())


@torch.no_grad()
def losses(model, windows, at_once=16):
    """The same for each window: float64 NumPy array (n,)."""
    found = []
    for part in windows.split(at_once):
        logits = model(part[:, :-1], use_cache=False).logits.float()
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="none")
        found.append(each.view(len(part), -1).double().mean(1))
    return torch.cat(found).cpu().numpy()


def held_out():
    """Text that every machine has alike: {"source": excerpts of Python, "pairs": [signature, parameters, docstring]}.

    From files that the embedded model was not trained on.
    """
    return json.loads(files("nla.demo").joinpath("held_out.json").read_text(encoding="utf-8"))


def tokenizer(checkpoint):
    """The `tokenizers.Tokenizer` of a checkpoint, or None where there is no tokenizer.json.

    It lies beside the weights or in the folder above, or in the repository on the Hub.
    """
    from huggingface_hub import hf_hub_download
    from tokenizers import Tokenizer

    if checkpoint.repo is None:
        places = (checkpoint.folder / "tokenizer.json", checkpoint.folder.parent / "tokenizer.json")
        path = next((place for place in places if place.is_file()), None)
        return path and Tokenizer.from_file(str(path))
    try:
        what = f"the tokenizer of {checkpoint.repo}"
        path = patiently(what, lambda: hf_hub_download(checkpoint.repo, "tokenizer.json", revision=checkpoint.commit))
    except NotThere:
        return None
    return Tokenizer.from_file(path)


def configuration(checkpoint):
    """The transformers configuration of a checkpoint; of one on the Hub config.json alone is fetched."""
    from huggingface_hub import hf_hub_download
    from transformers import AutoConfig

    if checkpoint.repo is None:
        places = (checkpoint.folder / "config.json", checkpoint.folder.parent / "config.json")
        path = next((place for place in places if place.is_file()), places[0])
    else:
        what = f"the configuration of {checkpoint.repo}"
        path = patiently(what, lambda: hf_hub_download(checkpoint.repo, "config.json", revision=checkpoint.commit))
    return AutoConfig.from_pretrained(path)


def windows(bpe, texts, length=256):
    """`texts` one after the other as token ids, cut into (n, length + 1); neighbours share a token."""
    ids = [i for text in texts for i in bpe.encode(text, add_special_tokens=False).ids]
    if len(ids) <= length:
        return torch.empty(0, length + 1, dtype=torch.long)
    return torch.tensor(ids[: (len(ids) - 1) // length * length + 1]).unfold(0, length + 1, length)

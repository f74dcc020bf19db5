"""Models of the kinds that README lists as known, each with one oddity alone, and chains of them; all tiny."""

import shutil

import torch

from tests.helpers.crooked import LENGTH, VOCABULARY, spoil, trained

STEPS = (0, 2, 20)
SMALL = dict(
    num_hidden_layers=2,
    hidden_size=32,
    num_attention_heads=4,
    vocab_size=VOCABULARY[0],
    max_position_embeddings=LENGTH,
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=0,
    initializer_range=0.1,
)
WIDE = SMALL | dict(intermediate_size=56)
GROUPED = WIDE | dict(num_key_value_heads=2)
MODELS = {  # name -> model_type, its settings
    "llama": ("llama", GROUPED),
    "mistral": ("mistral", GROUPED | dict(head_dim=12, sliding_window=16)),
    "qwen2": ("qwen2", GROUPED | dict(tie_word_embeddings=True)),
    "gemma": ("gemma", GROUPED | dict(head_dim=16, num_key_value_heads=1)),
    "neox": ("gpt_neox", WIDE),
    "neox without biases": ("gpt_neox", WIDE | dict(attention_bias=False)),
    "neox of one layer": ("gpt_neox", WIDE | dict(num_hidden_layers=1)),
    "llama of one layer": ("llama", GROUPED | dict(num_hidden_layers=1)),
    "gpt2": ("gpt2", SMALL),
    "bloom": ("bloom", SMALL),
    "opt": ("opt", SMALL | dict(ffn_dim=56, word_embed_proj_dim=32)),
    "bert": ("bert", WIDE),
    "phi3": ("phi3", GROUPED),
    "olmo": ("olmo", GROUPED),
    "olmo2": ("olmo2", GROUPED),
}
SPOILT = {  # what holds NaN in the last checkpoint -> of which model, the tensor
    "the only W1": ("neox of one layer", "gpt_neox.layers.0.mlp.dense_h_to_4h.weight"),
    "the only W2": ("llama of one layer", "model.layers.0.mlp.down_proj.weight"),
    "embed_in": ("neox", "gpt_neox.embed_in.weight"),
    "tied embeddings": ("qwen2", "model.embed_tokens.weight"),
    "query, key and value": ("neox", "gpt_neox.layers.1.attention.query_key_value.weight"),
    "query": ("llama", "model.layers.1.self_attn.q_proj.weight"),
    "a bias": ("neox", "gpt_neox.layers.0.mlp.dense_h_to_4h.bias"),
    "a norm": ("llama", "model.layers.0.input_layernorm.weight"),
}


def _build(name, of="AutoModelForCausalLM"):
    """A seeded model of `MODELS`, fresh."""
    import transformers

    kind, settings = MODELS[name]
    torch.manual_seed(0)
    of = "AutoModelForMaskedLM" if kind == "bert" and "Causal" in of else of
    return getattr(transformers, of).from_config(transformers.AutoConfig.for_model(kind, **settings))


def _ladder(name, folder, **how):
    with torch.random.fork_rng():
        return trained(_build(name), folder / "ladder", STEPS, **how)


def _single(name, folder, step=20):
    """The checkpoint at this step of the ladder, a folder of its own, with its tokenizer."""
    ladder = _ladder(name, folder / "whole")
    shutil.copy(ladder / "tokenizer.json", ladder / f"step{step}")
    return (ladder / f"step{step}").rename(folder / "single")


def _spoilt(folder, name, tensor):
    spoil(_ladder(name, folder) / f"step{STEPS[-1]}", tensor)
    return folder / "ladder"


def _fresh(name, folder):
    """One checkpoint as `from_config` makes it, with no text to read it by."""
    _build(name).save_pretrained(folder / "step0")
    return folder / "step0"


def _llama_chain(folder):
    ladder = _ladder("llama", folder)
    for step in STEPS[1:]:
        shutil.copy(ladder / "tokenizer.json", ladder / f"step{step}")
    base, tuned = (ladder / f"step{step}" for step in STEPS[1:])
    return f"{base.rename(folder / 'base')}>{tuned.rename(folder / 'sft')}"


def _encoder_chain(folder, of):
    """A pretrained encoder, and one fine-tuned from it whose head classifies: neither file holds the other's head."""
    with torch.random.fork_rng():
        base = _build("bert", of)
        base.save_pretrained(folder / "base")
        tuned = _build("bert", "AutoModelForSequenceClassification")
        tuned.base_model.load_state_dict(base.base_model.state_dict(), strict=False)
        with torch.no_grad():
            for p in tuned.base_model.parameters():
                p.add_(0.01 * torch.randn_like(p))
        tuned.save_pretrained(folder / "sft")
    return f"{folder / 'base'}>{folder / 'sft'}"


CASES = {  # what is odd -> a function of an empty folder that makes it there and returns MODEL
    **{name: lambda folder, name=name: _ladder(name, folder) for name in MODELS},
    "vocabulary that grows": lambda folder: _ladder("neox", folder, grown=VOCABULARY[1]),
    "tied vocabulary that grows": lambda folder: _ladder("qwen2", folder, grown=VOCABULARY[1]),
    "never trained": lambda folder: _ladder("neox", folder, rate=0),
    **{f"fresh {name}": lambda folder, name=name: _fresh(name, folder) for name in ("neox", "llama", "gpt2", "bert")},
    "single neox": lambda folder: _single("neox", folder),
    "single llama": lambda folder: _single("llama", folder),
    "single opt": lambda folder: _single("opt", folder),
    **{f"NaN in {what}": lambda folder, spoilt=spoilt: _spoilt(folder, *spoilt) for what, spoilt in SPOILT.items()},
    "chain of llamas": _llama_chain,
    "chain of encoders": lambda folder: _encoder_chain(folder, "AutoModel"),
    "chain of masked encoders": lambda folder: _encoder_chain(folder, "AutoModelForMaskedLM"),
}

"""What several test modules share of families."""

import torch

SMALL = dict(
    num_hidden_layers=3,
    hidden_size=36,
    num_attention_heads=9,
    vocab_size=53,
    max_position_embeddings=16,
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=1,
)
WIDE = SMALL | dict(intermediate_size=50)
GROUPED = WIDE | dict(num_key_value_heads=3, head_dim=10)  # 9 x 10 is not the hidden size
BIASED = GROUPED | dict(attention_bias=True)
GEMMA = GROUPED | dict(query_pre_attn_scalar=10, sliding_window=8)
OPT = SMALL | dict(ffn_dim=50, max_position_embeddings=51)  # with the offset of 2, as many positions as tokens

CONFIGS = {
    "gpt_neox": WIDE | dict(num_attention_heads=3, rotary_pct=0.5),
    "gpt_neox sequential": WIDE | dict(num_attention_heads=3, use_parallel_residual=False, tie_word_embeddings=True),
    "bloom": SMALL,
    "gpt2": SMALL,
    "gpt2 narrow": SMALL | dict(n_inner=50, tie_word_embeddings=False),
    "opt": OPT | dict(word_embed_proj_dim=36),
    "opt 350m": OPT | dict(word_embed_proj_dim=20, do_layer_norm_before=False),
    "bert": WIDE,
    "bert untied": WIDE | dict(tie_word_embeddings=False),
    "llama": BIASED | dict(mlp_bias=True),
    "mistral": GROUPED,
    "olmo": BIASED,
    "olmo2": BIASED,
    "olmo3": BIASED | dict(sliding_window=8),
    "qwen2": GROUPED | dict(tie_word_embeddings=True),
    "qwen3": BIASED,
    "gemma": GROUPED,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA | dict(tie_word_embeddings=False),
    "phi3": GROUPED,
}
TIED = {"gpt_neox sequential", "bloom", "gpt2", "opt", "opt 350m", "bert", "qwen2", "gemma", "gemma2"}


def build(config_class_name, **config):
    """A seeded model of this model_type, every parameter, biases and norms included, random."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    settings = AutoConfig.for_model(config_class_name, **config)
    model = AutoModelForCausalLM.from_config(settings, attn_implementation="eager")
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.15 * torch.randn_like(p))
    return model.eval()

"""The one table of model families: which tensor on disk holds which kind of matrix, and how it is cut out of it."""

from collections import namedtuple
from dataclasses import dataclass, replace

# In this order tables are sorted and, in studies.spectrum_rank, seeds made: a kind in between would change its numbers.
KINDS = ("query", "key", "value", "dense", "dense_h_to_4h", "dense_4h_to_h", "embed_in", "gate", "embed_out")
EMBEDDINGS = ("embed_in", "embed_out")
HEADED = ("query", "key", "value", "dense")
QKV = ("query", "key", "value")

SHAPES = {  # (out, in) of each kind, in the sizes that config.json gives
    "query": ("heads", "hidden"),
    **dict.fromkeys(("key", "value"), ("key_heads", "hidden")),
    "dense": ("hidden", "heads"),
    **dict.fromkeys(("gate", "dense_h_to_4h"), ("inner", "hidden")),
    "dense_4h_to_h": ("hidden", "inner"),
    **dict.fromkeys(EMBEDDINGS, ("vocabulary", "embedding")),
}
READS = {  # which norm's output a kind reads
    **dict.fromkeys(QKV, "attention"),
    **dict.fromkeys(("dense_h_to_4h", "gate"), "mlp"),
    "embed_out": "head",
}

Before = namedtuple("Before", "name first", defaults=(None,))  # norm of the layer before; `first`: before layer 0


@dataclass(frozen=True)
class Part:
    """The module that holds a kind, where it is not simply a Linear of that kind alone."""

    module: str
    shared: tuple = ()  # the kinds stacked in it along its outputs, in order; within each head in turn if `per_head`
    per_head: bool = False
    transposed: bool = False  # stored (in, out), as GPT-2's Conv1D is
    also: tuple = ()  # other names that the module goes by


@dataclass(frozen=True)
class Family:
    """One row of the table."""

    prefixes: tuple  # what may stand before every name in the file, in the order in which it is looked for
    layer: str  # what stands before the names within layer {}
    parts: dict  # kind -> module or `Part`; the embeddings' stand outside the layers, with or without the prefix
    norms: (
        dict  # "attention", "mlp", "head" -> the norm whose output that reads; no entry where it reads something else
    )
    post_norms: dict | None = None  # the same where config.json says do_layer_norm_before: false
    centred: bool = True  # LayerNorm removes the mean; RMSNorm (False) does not
    learned: bool = True  # the norms have parameters
    offset: int = 0  # what the model adds to the gain in the file
    tied: bool = False  # one matrix serves as both embeddings unless config.json says otherwise
    grouped: bool = False  # config.json may give a number of key-value heads, and the size of a head
    inner: tuple = (
        "intermediate_size",
        None,
    )  # what config.json calls the MLP's width; the multiple of hidden it is else


GPT_NEOX = Family(
    prefixes=("gpt_neox.", ""),
    layer="layers.{}.",
    parts={
        **dict.fromkeys(QKV, Part("attention.query_key_value", QKV, per_head=True)),
        "dense": "attention.dense",
        "dense_h_to_4h": "mlp.dense_h_to_4h",
        "dense_4h_to_h": "mlp.dense_4h_to_h",
        "embed_in": "embed_in",
        "embed_out": Part("embed_out", also=("lm_head",)),  # the latter in memory, from transformers 5.15
    },
    norms={"attention": "input_layernorm", "mlp": "post_attention_layernorm", "head": "final_layer_norm"},
)
BLOOM = replace(
    GPT_NEOX,
    prefixes=("transformer.", ""),
    layer="h.{}.",
    parts=GPT_NEOX.parts
    | dict.fromkeys(QKV, Part("self_attention.query_key_value", QKV, per_head=True))
    | {"dense": "self_attention.dense", "embed_in": "word_embeddings", "embed_out": "lm_head"},
    norms=GPT_NEOX.norms | {"head": "ln_f"},
    tied=True,
    inner=("n_inner", 4),
)
GPT2 = Family(
    prefixes=("transformer.", ""),
    layer="h.{}.",
    parts={
        **dict.fromkeys(QKV, Part("attn.c_attn", QKV, transposed=True)),
        "dense": Part("attn.c_proj", transposed=True),
        "dense_h_to_4h": Part("mlp.c_fc", transposed=True),
        "dense_4h_to_h": Part("mlp.c_proj", transposed=True),
        "embed_in": "wte",
        "embed_out": "lm_head",
    },
    norms={"attention": "ln_1", "mlp": "ln_2", "head": "ln_f"},
    tied=True,
    inner=("n_inner", 4),
)
OPT = Family(
    prefixes=("model.", ""),
    layer="decoder.layers.{}.",
    parts={
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "dense": "self_attn.out_proj",
        "dense_h_to_4h": "fc1",
        "dense_4h_to_h": "fc2",
        "embed_in": "decoder.embed_tokens",
        "embed_out": "lm_head",
    },
    norms={"attention": "self_attn_layer_norm", "mlp": "final_layer_norm", "head": "decoder.final_layer_norm"},
    post_norms={
        "attention": Before("final_layer_norm"),
        "mlp": "self_attn_layer_norm",
        "head": Before("final_layer_norm"),
    },
    tied=True,
    inner=("ffn_dim", None),
)
BERT = Family(
    prefixes=("bert.", ""),
    layer="encoder.layer.{}.",
    parts={
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "dense": "attention.output.dense",
        "dense_h_to_4h": "intermediate.dense",
        "dense_4h_to_h": "output.dense",
        "embed_in": "embeddings.word_embeddings",
        "embed_out": Part("cls.predictions.decoder", also=("cls.predictions",)),  # the latter holds its bias
    },
    norms={
        "attention": Before("output.LayerNorm", first="embeddings.LayerNorm"),
        "mlp": "attention.output.LayerNorm",
        "head": "cls.predictions.transform.LayerNorm",
    },
    tied=True,
)
LLAMA = Family(
    prefixes=("model.", ""),
    layer="layers.{}.",
    parts={
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "dense": "self_attn.o_proj",
        "gate": "mlp.gate_proj",
        "dense_h_to_4h": "mlp.up_proj",
        "dense_4h_to_h": "mlp.down_proj",
        "embed_in": "embed_tokens",
        "embed_out": "lm_head",
    },
    norms={"attention": "input_layernorm", "mlp": "post_attention_layernorm", "head": "norm"},
    centred=False,
    grouped=True,
)
PHI3 = replace(
    LLAMA,
    parts=LLAMA.parts
    | dict.fromkeys(QKV, Part("self_attn.qkv_proj", QKV))
    | dict.fromkeys(("gate", "dense_h_to_4h"), Part("mlp.gate_up_proj", ("gate", "dense_h_to_4h"))),
)
OLMO2 = replace(LLAMA, norms={"head": "norm"})  # normalises what the blocks put out
GEMMA = replace(LLAMA, tied=True, offset=1)
GEMMA2 = replace(GEMMA, norms=LLAMA.norms | {"mlp": "pre_feedforward_layernorm"})

FAMILIES = {  # by the model_type of config.json
    "gpt_neox": GPT_NEOX,
    "bloom": BLOOM,
    "gpt2": GPT2,
    "opt": OPT,
    "bert": BERT,
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), LLAMA),
    "phi3": PHI3,
    "olmo": replace(LLAMA, centred=True, learned=False),
    **dict.fromkeys(("olmo2", "olmo3"), OLMO2),
    "gemma": GEMMA,
    **dict.fromkeys(("gemma2", "gemma3_text"), GEMMA2),
}


def split_heads(fused, heads, index):
    """Query, key or value (`index` 0, 1, 2) out of GPT-NeoX's query_key_value, rows in the order of the heads.

    The rows are grouped by head, and within a head by query, key, value; contiguous thirds would mix all three.
    """
    d_head = fused.shape[0] // (3 * heads)
    parts = fused.view(heads, 3, d_head, *fused.shape[1:])  # (heads, 3, d_head, d_model)
    return parts[:, index].reshape(heads * d_head, *fused.shape[1:])

"""The one table of model families: which tensor on disk holds which kind of matrix, and how it is cut out of it."""

from collections import namedtuple

KINDS = ("query", "key", "value", "dense", "dense_h_to_4h", "dense_4h_to_h", "embed_in", "gate", "embed_out")
EMBEDDINGS = ("embed_in", "embed_out")
HEADED = ("query", "key", "value", "dense")

Part = namedtuple("Part", "name index", defaults=(None,))  # index: which of q, k, v in a tensor fused per head

FAMILIES = {
    "gpt_neox": {
        "layer": "gpt_neox.layers.{layer}.",
        "query": Part("attention.query_key_value.weight", 0),
        "key": Part("attention.query_key_value.weight", 1),
        "value": Part("attention.query_key_value.weight", 2),
        "dense": Part("attention.dense.weight"),
        "dense_h_to_4h": Part("mlp.dense_h_to_4h.weight"),
        "dense_4h_to_h": Part("mlp.dense_4h_to_h.weight"),
        "embed_in": Part("gpt_neox.embed_in.weight"),
        "embed_out": Part("embed_out.weight"),
        "norms": {
            **dict.fromkeys(("query", "key", "value"), "input_layernorm"),
            "dense_h_to_4h": "post_attention_layernorm",
            "embed_out": "gpt_neox.final_layer_norm",
        },
        "centred": True,
    },
}


def split_heads(fused, heads, index):
    """Query, key or value (`index` 0, 1, 2) out of GPT-NeoX's query_key_value, rows in the order of the heads.

    The rows are grouped by head, and within a head by query, key, value; contiguous thirds would mix all three.
    """
    d_head = fused.shape[0] // (3 * heads)
    parts = fused.view(heads, 3, d_head, *fused.shape[1:])  # (heads, 3, d_head, d_model)
    return parts[:, index].reshape(heads * d_head, *fused.shape[1:])

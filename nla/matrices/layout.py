"""The tensors of one checkpoint under the names and sizes of its family: weights, biases and norms, cut and checked."""

from collections import namedtuple
from functools import cached_property

import torch

from nla.matrices.families import EMBEDDINGS, FAMILIES, KINDS, READS, SHAPES, Before, Part
from nla.models.errors import CheckpointError
from nla.numerics import encodings
from nla.numerics.encodings import split_heads

Norm = namedtuple("Norm", "gain bias centred")  # float32 (d_model,) each; centred: the mean is removed


class Layout:
    """What one checkpoint holds, by kind and layer: of its config.json, an object, and its `Tensors`, asked late."""

    def __init__(self, config, tensors):
        self.config, self.tensors = config, tensors
        name = getattr(config, "model_type", None)
        self.family = FAMILIES.get(str(name))
        if self.family is None:
            known = ", ".join(FAMILIES)
            raise self._error(f"model_type is not one of {known} but {name}; add a row to nla.matrices.families")
        self.layers = self._number("num_hidden_layers", "n_layer", "num_layers")
        heads = self._number("num_attention_heads", "n_head")
        hidden = self._number("hidden_size", "n_embd", "n_embed", "d_model")
        key_heads, d_head = heads, hidden // heads
        if self.family.grouped:
            key_heads = self._number("num_key_value_heads", default=key_heads)
            d_head = self._number("head_dim", default=d_head)
        inner, multiple = self.family.inner
        self.heads = {"query": heads, "key": key_heads, "value": key_heads, "dense": heads}
        self.sizes = {  # None: not given, so whatever the tensors say
            "hidden": hidden,
            "heads": heads * d_head,
            "key_heads": key_heads * d_head,
            "inner": self._number(inner, default=multiple * hidden if multiple else None),
            "vocabulary": self._number("vocab_size", default=None),
            "embedding": self._number("word_embed_proj_dim", default=hidden),  # OPT-350m's are narrower
        }

    def _error(self, message):
        return CheckpointError(f"{self.tensors.folder}: {message}")

    def _number(self, *names, **default):
        """The first of `names` that config.json gives, a positive integer; else the default, if there is one."""
        given = [name for name in names if getattr(self.config, name, None) is not None]
        if not given and not default:
            raise self._error(f"config.json does not give {' or '.join(names)}")
        value = getattr(self.config, given[0]) if given else default["default"]
        if given and (type(value) is not int or not 0 < value < 2**63):
            raise self._error(f"config.json gives {given[0]} as {value!r}, not as a positive integer")
        return value

    @cached_property
    def index(self):
        """[(kind, layer)] of all matrices, embeddings (layer -1) last; embed_out only where it is one of its own."""
        if self.layers > (held := sum(1 for _ in self.tensors)):
            raise self._error(f"config.json gives {self.layers} layers where the files hold {held} tensors")
        self._require_known()
        inner = [k for k in KINDS if k in self.family.parts and k not in EMBEDDINGS]
        said, headed = (getattr(self.config, name, None) for name in ("tie_word_embeddings", "architectures"))
        if self.family.tied if said is None else said:
            own = said and self._second_head
        else:  # missing from an LM: an error
            own = "LM" in str(headed) or self.tensor_name("embed_out", -1) in self.tensors
        outer = ["embed_in", "embed_out"] if own else ["embed_in"]
        return [(k, layer) for layer in range(self.layers) for k in inner] + [(k, -1) for k in outer]

    @cached_property
    def _second_head(self):
        """The name of another matrix that the files hold where embed_in serves as embed_out; or nothing."""
        names = [self.tensor_name(kind, -1) for kind in EMBEDDINGS if kind in self.family.parts]
        there = len(names) == 2 and names[1] in self.tensors
        return names[1] if there and not encodings.equal(*(self.tensors[n] for n in names)) else ""

    def _require_known(self):
        if unread := encodings.unread(self.config, self.tensors):
            raise self._error(unread)

    @cached_property
    def unmeasured(self):
        """[line]: which layers of the files config.json does not know, and which tensors belong to no matrix."""
        self._require_known()
        silent = self.family.tied and getattr(self.config, "tie_word_embeddings", None) is None
        left = silent and not self.tensors.place(self.tensor_name("embed_in", -1)) and self._second_head
        parts = [self._part(kind) for kind in self.family.parts if not (left and kind == "embed_out")]
        modules, stem = {m for p in parts for m in (p.module, *p.also)}, self.family.layer.split("{")[0]
        return encodings.unclaimed(self.tensors, self._prefix, stem, self.layers, modules)

    @cached_property
    def _prefix(self):
        stem = self.family.layer.split("{")[0]
        prefixes = self.family.prefixes
        return next((p for p in prefixes if any(name.startswith(p + stem) for name in self.tensors)), prefixes[0])

    def layer_name(self, layer):
        """Name in the model of the module that is this layer."""
        return (self._prefix + self.family.layer.format(layer)).removesuffix(".")

    def _name(self, modules, layer, suffixes):
        """The first tensor that is there of those that `modules` and `suffixes` may mean, or else the usual one."""
        places = [self._prefix + self.family.layer.format(layer)] if layer >= 0 else [self._prefix, ""]
        names = [p + module + suffix for p in places for module in modules for suffix in suffixes]
        return next((n for n in names if n in self.tensors), names[0])

    def _part(self, kind):
        part = self.family.parts[kind]
        return part if isinstance(part, Part) else Part(part)

    def tensor_name(self, kind, layer, suffix=".weight"):
        """Name in the file of the tensor that holds this kind."""
        part = self._part(kind)
        return self._name([part.module, *part.also], layer, [suffix])

    def weight(self, kind, layer):
        """The matrix of this kind, (out, in)."""
        return self._cut(kind, self.tensor_name(kind, layer))

    def bias(self, kind, layer):
        """What is added to the matrix's product, (out,), or None."""
        name = self.tensor_name(kind, layer, ".bias")
        return self._cut(kind, name) if name in self.tensors else None

    def _cut(self, kind, name):
        part = self._part(kind)
        kinds = part.shared or (kind,)
        rows = [self.sizes[SHAPES[k][0]] for k in kinds]
        shape = (None if None in rows else sum(rows), self.sizes[SHAPES[kind][1]])[: 1 if name.endswith(".bias") else 2]
        tensor = self._checked(name, shape[::-1] if part.transposed else shape, part.transposed)
        tensor = tensor.T.contiguous() if part.transposed and tensor.ndim == 2 else tensor
        if len(kinds) == 1:
            return tensor
        if part.per_head:
            return split_heads(tensor, self.heads["query"], kinds.index(kind))
        return (tensor.chunk(len(rows)) if None in rows else tensor.split(rows))[kinds.index(kind)]

    def _checked(self, name, shape, transposed=False):
        tensor = self.tensors[name]
        found = tuple(tensor.shape)
        if len(found) != len(shape) or any(want not in (None, have) for want, have in zip(shape, found, strict=True)):
            wanted = " x ".join("any" if n is None else str(n) for n in shape)
            raise self._error(f"{name} is {' x '.join(map(str, found))} where config.json makes it {wanted}")
        try:
            return encodings.decoded(name, self.tensors, self.config, transposed)
        except ValueError as error:
            raise self._error(f"{name} {error}") from None

    def norm(self, kind, layer):
        """The norm whose output the matrix of this kind reads, as `Norm`, or None."""
        family, after = self.family, getattr(self.config, "do_layer_norm_before", True) is False
        norms = family.post_norms if family.post_norms and after else family.norms
        module = norms.get(READS.get(kind))
        if isinstance(module, Before):
            layer = (layer if layer >= 0 else self.layers) - 1
            module = module.name if layer >= 0 else module.first
        projected = kind in EMBEDDINGS and self.sizes["embedding"] != self.sizes["hidden"]
        gone = getattr(self.config, "_remove_final_layer_norm", False) is True  # from some OPT, or said to be
        last = layer < 0 and family.post_norms and module and self._name([module], layer, [".weight", ".bias"])
        if module is None or projected or (last and (gone or last not in self.tensors)):
            return None
        width = self.sizes["hidden"]
        if not family.learned or not getattr(self.config, "layer_norm_elementwise_affine", True):
            return Norm(torch.ones(width), None, family.centred)
        gain = self._checked(self._name([module], layer, [".weight", ".gamma"]), (width,)).float() + family.offset
        name = self._name([module], layer, [".bias", ".beta"])
        bias = self._checked(name, (width,)).float() if name in self.tensors else None
        return Norm(gain, bias, family.centred)

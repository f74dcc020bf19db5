"""Which tensor on disk holds which kind of matrix, and how it is cut out of it: the table is families.toml."""

import tomllib
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_KINDS = TABLE.pop("kinds")
KINDS = tuple(_KINDS)  # in the order in which tables are sorted
SHAPES = {kind: tuple(said["shape"]) for kind, said in _KINDS.items()}  # (out, in), in the sizes that config.json gives
READS = {kind: said["reads"] for kind, said in _KINDS.items() if "reads" in said}  # which norm's output a kind reads
EMBEDDINGS = ("embed_in", "embed_out")
HEADED = ("query", "key", "value", "dense")
QKV = ("query", "key", "value")

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
    norms: dict  # "attention", "mlp", "head" -> the norm whose output that reads; none where it reads something else
    post_norms: dict | None = None  # the same where config.json says do_layer_norm_before: false
    centred: bool = True  # LayerNorm removes the mean; RMSNorm (False) does not
    learned: bool = True  # the norms have parameters
    offset: int = 0  # what the model adds to the gain in the file
    tied: bool = False  # one matrix serves as both embeddings unless config.json says otherwise
    grouped: bool = False  # config.json may give a number of key-value heads, and the size of a head
    inner: tuple = ("intermediate_size", None)  # config.json's name of the MLP's width; else the multiple of hidden


def _family(given, rows):
    """The `Family` of an entry of families.toml; `rows` are those above it."""
    fields = dict(vars(rows[given["like"]])) if "like" in given else {"parts": {}, "norms": {}}
    for name, value in given.items():
        if name == "parts":
            fields["parts"] = fields["parts"] | {k: p for kinds, p in value.items() for k, p in _shared(kinds, p)}
        elif name.endswith("norms"):
            norms = {of: Before(n["before"], n.get("first")) if isinstance(n, dict) else n for of, n in value.items()}
            fields[name] = {of: norm for of, norm in ((fields.get(name) or {}) | norms).items() if norm}
        elif name != "like":
            fields[name] = tuple(value) if isinstance(value, list) else value
    return Family(**fields)


def _shared(kinds, part):
    """[(kind, module or `Part`)] of the kinds, with blanks between them, that a part of the table holds."""
    kinds = tuple(kinds.split())
    if len(kinds) > 1 or isinstance(part, dict):
        given = part if isinstance(part, dict) else {"module": part}
        part = Part(**given | {"also": tuple(given.get("also", ())), "shared": kinds if len(kinds) > 1 else ()})
    return [(kind, part) for kind in kinds]


FAMILIES = {}  # by the model_type of config.json
for _name, _given in TABLE.items():
    FAMILIES[_name] = _family(_given, FAMILIES)

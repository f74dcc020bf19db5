"""Train the embedded model: a small GPT-NeoX by Pythia's recipe on the source of Python's standard library.

`make demo` runs this file; it writes step*/ (fp16 safetensors and config.json, as the Hub stores Pythia),
tokenizer.json and history.json. On 4 cores it takes about half an hour.
"""

import argparse
import hashlib
import json
import platform
import random
import shutil
import sysconfig
from dataclasses import asdict
from functools import cache
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GPTNeoXConfig

from nla.matrices import FAMILIES
from nla.models import DEMO
from nla.nulls.recipes import SMALL, Recipe
from nla.running.training import evaluate, fit, shuffled, token_loss

RECIPE = Recipe(peak=2e-3, steps=4000, warmup=40)
SHAPE = {
    "num_hidden_layers": 6,
    "hidden_size": 192,
    "num_attention_heads": 6,
    "intermediate_size": 768,
    "vocab_size": 1024,
}
SPECIAL = ["<|endoftext|>", "<|padding|>", "<|user|>", "<|assistant|>"]  # only the first occurs in pretraining
CONTEXT, BATCH = 256, 16  # 4,096 tokens an update
NOT_SOURCE = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


def corpus(seed, root=None):
    """(training files, held-out files): path -> text of the standard library, a tenth of the files held out."""
    root = Path(root or sysconfig.get_paths()["stdlib"])
    texts = {}
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        name = path.relative_to(root)
        if NOT_SOURCE.isdisjoint(name.parts) and not name.name.startswith("_sysconfigdata"):
            texts[name.as_posix()] = path.read_text(encoding="utf-8", errors="replace")
    names = list(texts)
    random.Random(seed).shuffle(names)
    cut = len(names) // 10
    return {n: texts[n] for n in sorted(names[cut:])}, {n: texts[n] for n in sorted(names[:cut])}


def digest(texts):
    """SHA-256 over names and contents of the files, in order."""
    sha = hashlib.sha256()
    for name, text in texts.items():
        sha.update(name.encode() + b"\0" + text.encode() + b"\0")
    return sha.hexdigest()


def train_tokenizer(texts):
    """Byte-level BPE with as many entries as the model has rows, special tokens first."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=SHAPE["vocab_size"],
        special_tokens=SPECIAL,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts.values(), trainer)
    return bpe


def token_windows(bpe, texts):
    """All text as one stream, an end-of-text token after each file, cut into (windows, context + 1) ids."""
    ids = [i for e in bpe.encode_batch(list(texts.values())) for i in [*e.ids, 0]]
    count = (len(ids) - 1) // CONTEXT
    stream = torch.tensor(ids[: count * CONTEXT + 1])
    return stream.unfold(0, CONTEXT + 1, CONTEXT)  # (count, context + 1), neighbours share one token


@cache
def source(folder=DEMO, root=None, seed=1234):
    """(training windows, held-out windows, digest of the text) of `corpus`, by the tokenizer in a folder."""
    texts, held_out = corpus(seed, root)
    bpe = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    return token_windows(bpe, texts), token_windows(bpe, held_out), digest({**texts, **held_out})


def shape():
    """The configuration of the embedded model."""
    return GPTNeoXConfig(
        **SHAPE,
        max_position_embeddings=CONTEXT,
        rotary_pct=0.25,
        use_parallel_residual=True,
        tie_word_embeddings=False,
        hidden_act="gelu",
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )


def new_model(seed, config=None):
    """The model of `config`, or GPT-NeoX in the shape above, with small_init and wang_init, which transformers lacks.

    Biases are 0 and norms are 1, in whatever form the family stores that.
    """
    config = config or shape()
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    hidden, layers = config.hidden_size, config.num_hidden_layers
    std = {k: RECIPE.initial_std(k, hidden, layers) for k in ("dense", SMALL[0])}
    parts = FAMILIES[config.model_type].parts
    writers = tuple(f".{getattr(parts[k], 'module', parts[k])}.weight" for k in ("dense", "dense_4h_to_h"))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                p.normal_(0, std["dense" if name.endswith(writers) else SMALL[0]])
    return model


def save(model, folder):
    """Write one checkpoint as the Hub stores Pythia: fp16 safetensors under the on-disk names, and its config."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k.replace("lm_head.", "embed_out."): v.half().contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.dtype = torch.float16
    model.config.architectures = ["GPTNeoXForCausalLM"]
    model.config.save_pretrained(folder)


def saved_steps(steps):
    """0, the powers of two up to 512, 1000, and its doubles up to the end: the spacing of Pythia."""
    wanted = [0, *(2**i for i in range(10)), *(1000 * 2**i for i in range(8)), steps]
    return sorted({s for s in wanted if s <= steps})


def train(out, recipe=RECIPE, seed=1234, root=None):
    """Train, and leave tokenizer.json, step*/ and history.json in the folder `out`; `root` holds other source text."""
    out = Path(out)
    for old in out.glob("step*"):
        shutil.rmtree(old)
    texts, held_out = corpus(seed, root)
    bpe = train_tokenizer(texts)
    out.mkdir(parents=True, exist_ok=True)
    bpe.save(str(out / "tokenizer.json"))
    windows, unseen = token_windows(bpe, texts), token_windows(bpe, held_out)
    model, saved = new_model(seed), []
    chosen = shuffled(len(windows), BATCH, recipe.steps, seed)

    def look(step):
        if step in saved_steps(recipe.steps):
            save(model, out / f"step{step}")
            losses = {"train_loss": evaluate(model, windows), "held_out_loss": evaluate(model, unseen)}
            saved.append({"step": step, **losses})

    batches = fit(model, recipe, lambda step: token_loss(model, windows[chosen[step]]), "training", look=look)
    history = {
        "recipe": asdict(recipe),
        "seed": seed,
        "tokens_per_step": BATCH * CONTEXT,
        "corpus": {
            "what": "source files of the Python standard library, tests left out",
            "python": platform.python_version(),
            "sha256": digest({**texts, **held_out}),
            "train_files": len(texts),
            "held_out_files": len(held_out),
            "train_tokens": int(windows[:, 1:].numel()),
            "held_out_tokens": int(unseen[:, 1:].numel()),
        },
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, tokenizers)},
        "saved": saved,
        "batch_loss": batches[::10],
        "batch_loss_every": 10,
    }
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=Path(__file__).parent, type=Path, help="folder of the checkpoints")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--peak", type=float, default=RECIPE.peak, help="highest learning rate")
    args = parser.parse_args()
    train(args.out, Recipe(args.peak, args.steps, max(1, args.steps // 100)))

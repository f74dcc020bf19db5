"""A ladder on which nothing is even: what a cell takes for granted of `demo` does not hold here."""

import tokenizers
import torch
from safetensors.torch import load_file, save_file

from nla.running import texts

STEPS = (0, 1, 4, 16, 40, 100)
GROWN = 16  # the first step with the larger vocabulary
VOCABULARY = (300, 307)
SPOILT = "model.layers.1.mlp.down_proj.weight"
LENGTH = 64


def crooked_ladder(folder, steps=STEPS, rate=3e-3, spoilt=SPOILT):
    """`folder` with step*/ of a tiny Llama really trained, fp16, and a tokenizer.json; some seconds.

    Four query heads and two of keys and values, so that query is larger than key; biases, zero at the start;
    embeddings that gain rows at step 16; NaN in one entry of the tensor `spoilt` of the last checkpoint.

    Parameters
    ----------
    folder : Path
    steps : sequence of int
        Which to save, ascending.
    rate : float
        Learning rate of Adam; 0 gives a ladder that was never trained.
    spoilt : str or None
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trained(_model(), folder, steps, rate, VOCABULARY[1])
    if spoilt:
        spoil(folder / f"step{steps[-1]}", spoilt)
    return folder


def trained(model, folder, steps, rate=3e-3, grown=None):
    """`folder` with a tokenizer.json of 300 tokens, and this model after each of `steps` in step*/, fp16.

    At step `GROWN` its embeddings become `grown` rows tall, unless that is None.
    """
    text = texts.held_out()["source"]
    bpe = _tokenizer(text)
    folder.mkdir(parents=True)
    bpe.save(str(folder / "tokenizer.json"))
    windows = texts.windows(bpe, text, LENGTH)
    for step in range(steps[-1] + 1):
        if grown and step == GROWN:
            model.resize_token_embeddings(grown, mean_resizing=False)
        if step in (0, GROWN):
            optimizer = torch.optim.Adam(model.parameters(), rate)
        if step in steps:
            model.half().save_pretrained(folder / f"step{step}")
            model.float()
        batch = windows[torch.randint(len(windows), (8,)), :LENGTH]
        model(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return folder


def _tokenizer(text):
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    end = ["<|endoftext|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY[0], special_tokens=end, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(text, trainer)
    return bpe


def _model():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_hidden_layers=3,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=56,
        vocab_size=VOCABULARY[0],
        max_position_embeddings=LENGTH,
        attention_bias=True,
        mlp_bias=True,
        initializer_range=0.1,
        bos_token_id=0,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config)


def spoil(folder, name):
    """Put NaN into the first entry of the tensor `name` of the checkpoint in `folder`."""
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[0] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

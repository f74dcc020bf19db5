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
    text = texts.held_out()["source"]
    bpe = _tokenizer(text)
    folder.mkdir(parents=True)
    bpe.save(str(folder / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _train(_model(), texts.windows(bpe, text, LENGTH), folder, steps, rate)
    if spoilt:
        _spoil(folder / f"step{steps[-1]}" / "model.safetensors", spoilt)
    return folder


def _train(model, windows, folder, steps, rate):
    for step in range(steps[-1] + 1):
        if step == GROWN:
            model.resize_token_embeddings(VOCABULARY[1], mean_resizing=False)
        if step in (0, GROWN):
            optimizer = torch.optim.Adam(model.parameters(), rate)
        if step in steps:
            model.half().save_pretrained(folder / f"step{step}")
            model.float()
        batch = windows[torch.randint(len(windows), (8,)), :LENGTH]
        model(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


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


def _spoil(path, name):
    tensors = load_file(path)
    tensors[name][0, 0] = torch.nan
    save_file(tensors, path, metadata={"format": "pt"})

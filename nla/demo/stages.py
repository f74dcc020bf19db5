"""Train the embedded model's two later stages: supervised fine-tuning, then direct preference optimisation.

`make demo` runs this file after train.py; it writes sft/ and dpo/ beside the last step*/, held_out.json with the text
that notebooks evaluate on, and "stages" in history.json. The task is in docstrings.py. On 2 cores it takes about ten
minutes. Both stages are a page of code here; trl, which has them too, would bring five packages for no less of it.
"""

import argparse
import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tokenizers
import torch
from tqdm.auto import tqdm

from nla.demo import docstrings, train
from nla.demo.docstrings import ASSISTANT, END, MOST_ANSWER, PAD
from nla.language import language_model
from nla.models import checkpoints
from nla.recipes import Recipe

SFT = Recipe(peak=2e-4, steps=400, warmup=10)
DPO = Recipe(peak=5e-5, steps=150, warmup=10, weight_decay=0.0)
SFT_PAIRS, SFT_WINDOWS, DPO_PAIRS = 32, 2, 32  # a batch: (signature, docstring) and windows of source; preferences
SOURCE = 0.5  # weight of the loss on source beside that on answers
BETA = 0.1
SAMPLES, PROMPTS = 8, 1200  # answers drawn per signature; signatures that preferences are made for
HELD_OUT_PROMPTS, HELD_OUT_SAMPLES = 128, 4


def batch(sequences):
    """(tokens, answered) of [(prompt, answer)]: ids padded on the right (n, T), and which of them are answers.

    Attention is causal, so that padding on the right changes nothing before it.
    """
    length = max(len(p) + len(a) for p, a in sequences)
    tokens = torch.tensor([[*p, *a, *[PAD] * (length - len(p) - len(a))] for p, a in sequences])
    places = torch.arange(length)
    start = torch.tensor([[len(p)] for p, _ in sequences])
    end = torch.tensor([[len(p) + len(a)] for p, a in sequences])
    return tokens, (places >= start) & (places < end)


def token_logprobs(model, tokens):
    """Log-probability of every token after the first under the model, given those before it: (n, T - 1, vocabulary)."""
    return model(tokens[:, :-1], use_cache=False).logits.float().log_softmax(-1)


def answer_logprobs(model, sequences):
    """Log-probability of each answer given its prompt, (n,), and the number of its tokens, (n,)."""
    tokens, answered = batch(sequences)
    chosen = token_logprobs(model, tokens).gather(2, tokens[:, 1:, None])[..., 0]
    return (chosen * answered[:, 1:]).sum(1), answered.sum(1)


def dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta=BETA):
    """Mean of -ln sigma(beta ((chosen - reference_chosen) - (rejected - reference_rejected))); log-probabilities (n,).

    Rafailov et al. 2023 (arXiv:2305.18290), equation 7; ln 2 where the model is the reference.
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -torch.nn.functional.logsigmoid(beta * margin).mean()


@torch.no_grad()
def draw(model, prompts, samples, seed):
    """`samples` answers to each prompt, drawn from the model as it is: [[(ids, closed)]] without END, in their order."""
    torch.manual_seed(seed)
    order, drawn = sorted(range(len(prompts)), key=lambda i: len(prompts[i])), {}
    for start in tqdm(range(0, len(order), 512 // samples), desc="drawing", leave=False):
        places = order[start : start + 512 // samples]
        length = max(len(prompts[i]) for i in places)
        tokens = torch.tensor([[PAD] * (length - len(prompts[i])) + prompts[i] for i in places])
        answers = model.generate(
            tokens,
            attention_mask=(tokens != PAD).long(),
            num_return_sequences=samples,
            max_new_tokens=MOST_ANSWER,
            do_sample=True,
            top_k=0,
            eos_token_id=END,
            pad_token_id=PAD,
        )[:, length:].tolist()
        for j, i in enumerate(places):
            drawn[i] = [_closed(ids) for ids in answers[j * samples : (j + 1) * samples]]
    return [drawn[i] for i in range(len(prompts))]


def _closed(ids):
    return (ids[: ids.index(END)], True) if END in ids else (ids, False)


def judged(bpe, pairs, answers):
    """[[checks of each answer]] for the answers drawn to the signatures of `pairs`."""
    return [
        [docstrings.checks(pair, bpe.decode(ids, skip_special_tokens=False), closed) for ids, closed in drawn]
        for pair, drawn in zip(pairs, answers, strict=True)
    ]


@torch.no_grad()
def divergence(model, reference, sequences):
    """Mean KL(model || reference) per token of the model's own answers, nats: exact over the vocabulary at each place."""
    total = count = 0.0
    for start in range(0, len(sequences), 64):
        tokens, answered = batch(sequences[start : start + 64])
        ours, theirs = (token_logprobs(m, tokens) for m in (model, reference))
        total += ((ours.exp() * (ours - theirs)).sum(-1) * answered[:, 1:]).sum().item()
        count += answered.sum().item()
    return total / count


@torch.no_grad()
def evaluate(model, reference, bpe, held_out, windows):
    """What a model does on held-out files: losses, checks of the answers it draws, divergence from the reference."""
    prompts = [docstrings.encode(bpe, pair) for pair in held_out]
    sums = [answer_logprobs(model, prompts[i : i + 64]) for i in range(0, len(prompts), 64)]
    logprob, count = (torch.cat(parts).sum().item() for parts in zip(*sums, strict=True))
    asked = spread([pair for pair in held_out if pair.parameters], HELD_OUT_PROMPTS)
    questions = [docstrings.encode(bpe, pair)[0] for pair in asked]
    answers = draw(model, questions, HELD_OUT_SAMPLES, seed=0)
    found = judged(bpe, asked, answers)
    means = {k: float(np.mean([c[k] for drawn in found for c in drawn])) for k in found[0][0]}
    per_prompt = [np.mean([c["reward"] for c in drawn]) for drawn in found]
    own = [(q, ended(answer)) for q, drawn in zip(questions, answers, strict=True) for answer in drawn]
    return {
        **means,
        "reward_error": float(np.std(per_prompt, ddof=1) / len(per_prompt) ** 0.5),
        "answer_tokens": float(np.mean([len(ids) for drawn in answers for ids, _ in drawn])),
        "answer_loss": -logprob / count,
        "held_out_loss": train.evaluate(model, windows),
        "divergence": divergence(model, reference, own),
        "examples": [[p.signature, bpe.decode(drawn[0][0])] for p, drawn in zip(asked[:6], answers, strict=False)],
    }


def spread(members, most):
    """Up to `most` of a list, evenly spaced."""
    return [members[i] for i in np.unique(np.linspace(0, len(members) - 1, most).astype(int))]


def fit(model, recipe, loss_of_batch, what):
    """Train `model` in place, AdamW as in pretraining; the loss of every update."""
    optimizer, losses = train.optimizer_for(model, recipe), []
    bar = tqdm(range(recipe.steps), unit="step", desc=what)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = float(recipe.learning_rate(step))
        loss = loss_of_batch(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(round(loss.item(), 4))
        bar.set_postfix(loss=f"{loss.item():.3f}")
    return losses


def batches(lengths, size, steps, seed):
    """Indices of `steps` batches of `size`, each of members of like length; all members once, then all again."""
    order, drawn = torch.Generator().manual_seed(seed), []
    while len(drawn) < steps:
        shuffled = torch.randperm(len(lengths), generator=order).tolist()
        similar = sorted(shuffled, key=lambda i: lengths[i])
        starts = range(0, len(similar) - size + 1, size)
        drawn += [similar[starts[j] : starts[j] + size] for j in torch.randperm(len(starts), generator=order)]
    return drawn[:steps]


def fine_tune(model, sequences, windows, seed, recipe=SFT):
    """Supervised fine-tuning: cross-entropy of answers alone, with a little of the source of pretraining mixed in."""
    pairs = batches([len(p) + len(a) for p, a in sequences], SFT_PAIRS, recipe.steps, seed)
    texts = batches([0] * len(windows), SFT_WINDOWS, recipe.steps, seed)

    def loss(step):
        logprobs, counts = answer_logprobs(model, [sequences[i] for i in pairs[step]])
        return -logprobs.sum() / counts.sum() + SOURCE * train.token_loss(model, windows[texts[step]])

    return fit(model, recipe, loss, "fine-tuning")


def preferences(model, bpe, pairs, seed):
    """[(prompt, chosen answer, rejected answer)] of answers that the model draws: the best one and one that is worse."""
    prompts = [docstrings.encode(bpe, pair)[0] for pair in pairs]
    found, answers, choice = [], draw(model, prompts, SAMPLES, seed), random.Random(seed)
    for prompt, drawn, checked in zip(prompts, answers, judged(bpe, pairs, answers), strict=True):
        best = max(range(len(drawn)), key=lambda i: checked[i]["reward"])
        worse = [i for i in range(len(drawn)) if checked[i]["reward"] < checked[best]["reward"]]
        if worse:
            found.append((prompt, ended(drawn[best]), ended(drawn[choice.choice(worse)])))
    return found


def ended(answer):
    """(ids, closed) as the ids that the model put out."""
    ids, closed = answer
    return [*ids, END] if closed else ids


def prefer(model, reference, chosen_over, seed, recipe=DPO):
    """Direct preference optimisation on [(prompt, chosen, rejected)]; the losses, and how often chosen wins by then."""
    sides = [[(prompt, answers[i]) for prompt, *answers in chosen_over] for i in (0, 1)]
    with torch.no_grad():
        fixed = [torch.cat([answer_logprobs(reference, side[i : i + 64])[0] for i in range(0, len(side), 64)]) for side in sides]
    lengths = [len(p) + max(len(a), len(b)) for p, a, b in chosen_over]
    drawn = batches(lengths, DPO_PAIRS, recipe.steps, seed)

    def loss(step):
        both = [side[i] for side in sides for i in drawn[step]]
        chosen, rejected = answer_logprobs(model, both)[0].chunk(2)
        return dpo_loss(chosen, rejected, *(logprobs[drawn[step]] for logprobs in fixed))

    return fit(model, recipe, loss, "preferring")

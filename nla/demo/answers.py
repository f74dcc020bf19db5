"""What a model answers to signatures: probabilities of given answers, answers drawn, and what is to be said of them."""

import numpy as np
import torch
from tqdm.auto import tqdm

from nla.demo import docstrings
from nla.demo.docstrings import END, MOST_ANSWER, PAD
from nla.running import training

PROMPTS, SAMPLES = 128, 4  # signatures of held-out files that are asked, and answers drawn to each
AT_ONCE = 512  # sequences drawn together


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
    """Log-probabilities of what comes after each token but the last, (n, T - 1, vocabulary)."""
    return model(tokens[:, :-1], use_cache=False).logits.float().log_softmax(-1)


def logprobs(model, sequences):
    """Log-probability of each answer given its prompt, (n,), and the number of its tokens, (n,)."""
    tokens, answered = batch(sequences)
    chosen = token_logprobs(model, tokens).gather(2, tokens[:, 1:, None])[..., 0]
    return (chosen * answered[:, 1:]).sum(1), answered.sum(1)


@torch.no_grad()
def draw(model, prompts, samples, seed):
    """`samples` answers to each prompt from the model as it is: [[(ids without END, whether END came)]], in order."""
    torch.manual_seed(seed)
    order, drawn = sorted(range(len(prompts)), key=lambda i: len(prompts[i])), {}
    for start in tqdm(range(0, len(order), AT_ONCE // samples), desc="drawing", leave=False):
        places = order[start : start + AT_ONCE // samples]
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


def put_out(answer):
    """(ids, closed) as the ids that the model put out."""
    ids, closed = answer
    return [*ids, END] if closed else ids


def judged(bpe, pairs, answers):
    """[[checks of each answer]] for the answers drawn to the signatures of `pairs`."""
    return [
        [docstrings.checks(pair, bpe.decode(ids, skip_special_tokens=False), closed) for ids, closed in drawn]
        for pair, drawn in zip(pairs, answers, strict=True)
    ]


@torch.no_grad()
def divergence(model, reference, sequences):
    """Mean KL(model || reference) per token of the model's own answers, nats: exact over the vocabulary at each."""
    total = count = 0.0
    for start in range(0, len(sequences), 64):
        tokens, answered = batch(sequences[start : start + 64])
        ours, theirs = (token_logprobs(m, tokens) for m in (model, reference))
        total += ((ours.exp() * (ours - theirs)).sum(-1) * answered[:, 1:]).sum().item()
        count += answered.sum().item()
    return total / count


@torch.no_grad()
def evaluate(model, reference, bpe, pairs, windows):
    """What a model does on held-out files.

    Parameters
    ----------
    model, reference : transformers.PreTrainedModel
        The reference is the model that it was trained from.
    pairs : list of Pair
    windows : torch.Tensor
        (n, context + 1) ids of plain source.

    Returns
    -------
    dict
        Means over answers drawn of `docstrings.checks`; ``reward_error``: standard error of the mean reward, over
        signatures; ``answer_tokens``: mean length; ``answer_loss``: nats per token of the true docstrings;
        ``held_out_loss``: of plain source; ``divergence``: see there; ``examples``: [signature, answer].
    """
    sequences = [docstrings.encode(bpe, pair) for pair in pairs]
    asked = spread([pair for pair in pairs if pair.parameters], PROMPTS)
    prompts = [docstrings.encode(bpe, pair)[0] for pair in asked]
    answers = draw(model, prompts, SAMPLES, seed=0)
    checked = judged(bpe, asked, answers)
    rewards = [np.mean([c["reward"] for c in drawn]) for drawn in checked]
    own = [(prompt, put_out(answer)) for prompt, drawn in zip(prompts, answers, strict=True) for answer in drawn]
    return {
        **{name: float(np.mean([c[name] for drawn in checked for c in drawn])) for name in checked[0][0]},
        "reward_error": float(np.std(rewards, ddof=1) / len(rewards) ** 0.5),
        "answer_tokens": float(np.mean([len(ids) for drawn in answers for ids, _ in drawn])),
        "answer_loss": answer_loss(model, sequences),
        "held_out_loss": training.evaluate(model, windows),
        "divergence": divergence(model, reference, own),
        "examples": [
            [p.signature, bpe.decode(drawn[0][0])] for p, drawn in zip(asked[::16], answers[::16], strict=True)
        ],
    }


def spread(members, most):
    """Up to `most` of a list, evenly spaced."""
    return [members[i] for i in np.unique(np.linspace(0, len(members) - 1, most).astype(int))]


@torch.no_grad()
def answer_loss(model, sequences):
    """Mean cross-entropy, nats per token, of the answers in [(prompt, answer)]."""
    parts = [logprobs(model, sequences[i : i + 64]) for i in range(0, len(sequences), 64)]
    total, count = (torch.cat(part).sum().item() for part in zip(*parts, strict=True))
    return -total / count

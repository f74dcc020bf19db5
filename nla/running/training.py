"""One training loop: rate, loss, backward, clip, step; its optimiser and batches."""

import os

import numpy as np
import torch
from tqdm.auto import tqdm


def fit(model, recipe, loss_of_batch, what, optimizer=None, look=None):
    """Train `model` in place by the rates of `recipe`; the loss of every update.

    `loss_of_batch(step)` is made less by AdamW as in pretraining, or by another `optimizer`; `look(step)` is called
    before each update and after the last.
    """
    optimizer, losses = optimizer or optimizer_for(model, recipe), []
    off = os.environ.get("TQDM_DISABLE", "0") != "0"  # tqdm's notebook bar does not ask
    bar = tqdm(range(recipe.steps), unit="step", desc=what, disable=off)
    for step in bar:
        if look:
            look(step)
        for group in optimizer.param_groups:
            group["lr"] = float(recipe.learning_rate(step))
        loss = loss_of_batch(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(round(loss.item(), 4))
        bar.set_postfix(loss=f"{loss.item():.3f}")
    if look:
        look(recipe.steps)
    return losses


def shuffled(count, size, steps, seed):
    """Indices of `steps` batches of `size` of `count` members, (steps, size): all in random order, then all again."""
    order, rounds = torch.Generator().manual_seed(seed), -(-steps * size // count)
    drawn = torch.cat([torch.randperm(count, generator=order) for _ in range(rounds)])
    return drawn[: steps * size].view(steps, size)


def batches(lengths, size, steps, seed):
    """Indices of `steps` batches of `size`, each of members of like length; all batches once, then all again."""
    order, drawn, size = torch.Generator().manual_seed(seed), [], min(size, len(lengths))
    while len(drawn) < steps:
        shuffled = torch.randperm(len(lengths), generator=order).tolist()
        similar = sorted(shuffled, key=lambda i: lengths[i])
        starts = range(0, len(similar) - size + 1, size)
        drawn += [similar[starts[j] : starts[j] + size] for j in torch.randperm(len(starts), generator=order)]
    return drawn[:steps]


def optimizer_for(model, recipe):
    """AdamW (0.9, 0.95) whose decay spares biases and LayerNorms."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8)


def token_loss(model, windows):
    """Mean cross-entropy, nats per token, of `windows` (n, context + 1)."""
    logits = model(windows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())


@torch.no_grad()
def evaluate(model, windows, most=256):
    """Loss on up to `most` windows spread evenly over the text."""
    chosen = windows[np.unique(np.linspace(0, len(windows) - 1, most).astype(int))]
    return float(np.mean([token_loss(model, part).item() for part in chosen.split(32)]))

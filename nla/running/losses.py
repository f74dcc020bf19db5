"""Losses of a running model on windows of a text, of the next token or of masked ones."""

import torch

from nla.running import language


@torch.no_grad()
def masked_losses(model, windows, mask, at_once=16, share=0.15):
    """Mean cross-entropy, nats per masked token, of each window of ids (n, length), of which a `share` is masked.

    `mask` is the id of the token that stands for those; they are the same in each call, and none is left or exchanged.
    """
    hidden, found = torch.zeros(windows.shape, dtype=torch.bool), []
    count = max(1, round(share * windows.shape[1]))  # in each window, so that each weighs the same
    places = torch.rand(windows.shape, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :count]
    hidden.scatter_(1, places, True)
    for part, where in zip(windows.split(at_once), hidden.split(at_once), strict=True):
        logits = model(part.masked_fill(where, mask)).logits[where].float()
        each = torch.nn.functional.cross_entropy(logits, part[where], reduction="none").double()
        found.append(each.view(len(part), count).mean(1))
    return torch.cat(found).cpu().numpy()


def losses_on(model, bpe, windows):
    """The function of a running model that gives its losses on `windows`, (n,), or None.

    `losses.losses`, or `masked_losses`. None where the model has no head that predicts tokens, or should predict
    masked ones and the tokenizer `bpe` has no token for them, [MASK] or <mask>.
    """
    if model.get_output_embeddings() is None:
        return None
    if model.config.model_type not in language.MASKED:
        return lambda model: losses(model, windows)
    masks = [i for i in map(bpe.token_to_id, ("[MASK]", "<mask>")) if i is not None]
    return (lambda model: masked_losses(model, windows[:, :-1], masks[0])) if masks else None


def loss(model, windows, at_once=16):
    """Mean cross-entropy of `model`, nats per token, on `windows` of token ids, (n, length + 1)."""
    return float(losses(model, windows, at_once).mean())


@torch.no_grad()
def losses(model, windows, at_once=16):
    """The same for each window: float64 NumPy array (n,)."""
    found = []
    for part in windows.split(at_once):
        logits = model(part[:, :-1], use_cache=False).logits.float()
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="none")
        found.append(each.view(len(part), -1).double().mean(1))
    return torch.cat(found).cpu().numpy()

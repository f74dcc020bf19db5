"""Spectra of many matrices in one call: what an accelerator needs, on which one matrix alone leaves most units idle.

On a processor this gains nothing: one matrix to each core is faster there, see `nla.scanning.rows`.
"""

from threading import Lock

import torch

from nla.numerics import spectra

COPIES = 4  # of each Gram matrix in the memory of the device: itself, in the stack, and what the solver works in


class Stacks:
    """Singular values of the matrices `names`, each read by `read(name)`, by stacks, when first asked for.

    A stack holds the Gram matrices of equal size, in the order of `names`, as many as `room` bytes allow; by default
    half of the memory that is free on their `device`.
    """

    def __init__(self, read, names, device, room=None):
        self.read, self.left, self.device, self.room = read, list(names), device, room
        self.found, self.turn = {}, Lock()

    def singular_values(self, name):
        """Descending, float64 NumPy (r,); None for a matrix that is not among them or not finite."""
        with self.turn:
            if name in self.left:
                self._compute(self.left.index(name))
            return self.found.get(name)

    def _compute(self, first):
        room = torch.cuda.mem_get_info(self.device)[0] // 2 if self.room is None else self.room
        grams, size = {}, None
        for name in self.left[first:]:
            weight = self.read(name)
            size = size or min(weight.shape)
            if grams and (len(grams) + 1) * COPIES * 8 * size**2 > room:
                break
            if min(weight.shape) == size:
                grams[name] = spectra.gram(weight) if torch.isfinite(weight).all() else None
        self.left = [name for name in self.left if name not in grams]
        finite = {name: gram for name, gram in grams.items() if gram is not None}
        if finite:
            self.found |= dict(zip(finite, spectra.singular_values(torch.stack(list(finite.values()))), strict=True))

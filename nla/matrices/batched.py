"""Spectra of many matrices in one call: what an accelerator needs, on which one matrix alone leaves most units idle.

On a processor this gains nothing: one matrix to each core is faster there, see `nla.scanning.rows`.
"""

from threading import Lock

import torch

from nla.numerics import spectra

COPIES = 4  # of each Gram matrix in the memory of the device: itself, in the stack, and what the solver works in


class Stacks:
    """Singular values of the matrices `tasks`, [(kind, layer)], of one checkpoint, by stacks, when first asked for.

    A stack holds the Gram matrices of equal size, usually of whole layers, as many as `room` bytes allow; by default
    half of the memory that is free on the device.
    """

    def __init__(self, weights, tasks, room=None):
        self.weights, self.left, self.room = weights, list(tasks), room
        self.found, self.turn = {}, Lock()

    def singular_values(self, kind, layer):
        """Descending, float64 NumPy (r,); None for a matrix that is not among the tasks or not finite."""
        with self.turn:
            if (kind, layer) in self.left:
                self._compute(self.left.index((kind, layer)))
            return self.found.get((kind, layer))

    def _compute(self, first):
        room = torch.cuda.mem_get_info(self.weights.device)[0] // 2 if self.room is None else self.room
        grams, size = {}, None
        for task in self.left[first:]:
            weight = self.weights.matrix(*task).weight
            size = size or min(weight.shape)
            if grams and (len(grams) + 1) * COPIES * 8 * size**2 > room:
                break
            if min(weight.shape) == size:
                grams[task] = spectra.gram(weight) if torch.isfinite(weight).all() else None
        self.left = [task for task in self.left if task not in grams]
        finite = {task: gram for task, gram in grams.items() if gram is not None}
        if finite:
            self.found |= dict(zip(finite, spectra.singular_values(torch.stack(list(finite.values()))), strict=True))

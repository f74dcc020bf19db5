"""A running model from one of its layers on: what the layers below hand on is computed once for many runs."""

import numpy as np
import torch

from nla.matrices.in_memory import in_memory
from nla.running import losses


class _Reached(Exception):
    """Ends a run of the model after the last layer that is wanted; holds what that handed on."""


class Resumed:
    """A model on `windows` of token ids, (n, length + 1), that begins at a layer of one's choice, at first at 0.

    The layers below return what they returned when it was moved there, batch by batch, so that runs of the same weights
    below are those of the whole model, to the bit.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of any family of `nla.matrices.families`.
    windows : torch.Tensor
    at_once : int
        Windows in a batch.
    """

    def __init__(self, model, windows, at_once=8):
        layout = in_memory(model)
        self.layers = [model.get_submodule(layout.layer_name(layer)) for layer in range(layout.layers)]
        self.model, self.parts, self.start = model, windows.split(at_once), 0
        self.kept = [None] * len(self.parts)

    @torch.no_grad()
    def each(self, run):
        """[run(part)] of each batch of windows, the layers below passed over."""
        found, below = [], self.layers[: self.start]
        try:
            for part, kept in zip(self.parts, self.kept, strict=True):
                for layer in below:
                    layer.forward = lambda *args, kept=kept, **options: kept
                found.append(run(part))
        finally:
            for layer in below:
                layer.__dict__.pop("forward", None)
        return found

    def losses(self):
        """Mean cross-entropy on each window: (n,) float64 NumPy, in nats; as `nla.running.losses.losses`."""
        return np.concatenate(self.each(lambda part: losses.losses(self.model, part, len(part))))

    def until(self, layer):
        """[what is handed on to `layer`] by batch; no layer from there on runs."""

        def stop(module, args, output):
            raise _Reached(output)

        def run(part):
            try:
                self.model(part[:, :-1], use_cache=False)
            except _Reached as reached:
                return reached.args[0]

        hook = self.layers[layer - 1].register_forward_hook(stop)
        try:
            return self.each(run)
        finally:
            hook.remove()

    def reach(self, layer):
        """Begin at `layer` from now on, with the weights below as they are now; returns this."""
        if layer < self.start:
            self.kept, self.start = [None] * len(self.parts), 0
        if layer > self.start:
            self.kept, self.start = self.until(layer), layer
        return self

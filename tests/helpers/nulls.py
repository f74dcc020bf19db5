"""What several test modules share of nulls."""

import torch

import nla


def matrix_of(weight, initial=None, layer=0):
    matrix = nla.Matrix("dense", layer, 1, torch.as_tensor(weight))
    if initial is not None:
        vars(matrix)["initial"] = nla.Matrix("dense", layer, 0, torch.as_tensor(initial))  # where `once` looks
    return matrix

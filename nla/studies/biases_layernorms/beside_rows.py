"""Biases beside the rows of their matrix, and beside one another."""

import numpy as np


def rows_and_bias(matrix):
    """``bias_rows``: correlation of the bias with the norms of the rows, -1 to 1; nothing where all biases are zero."""
    sizes, bias = matrix.values.norm(dim=1), matrix.bias
    return {} if bias is None or not bias.any() else {"bias_rows": np.corrcoef(sizes, bias)[0, 1]}


def output_biases(matrix):
    """``biases_apart``, ``biases_largest``: largest difference of the two output biases of a layer, largest entry."""
    a, b = matrix.bias, matrix.sibling("dense_4h_to_h").bias
    if a is None or b is None:
        return {}
    return {"biases_apart": (a - b).abs().max(), "biases_largest": a.abs().max()}


output_biases.kinds = ("dense",)
COMMON_PASS = [rows_and_bias, output_biases]

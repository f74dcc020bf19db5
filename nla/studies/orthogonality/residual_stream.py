"""Of each matrix the vectors that live in the residual stream: columns of what writes to it, rows of what reads it."""

WRITERS = ("dense", "dense_4h_to_h")


def in_residual_stream(table):
    """A table of `nla.orthogonality` with columns for those vectors of each matrix that live in the residual stream.

    They are the columns of what writes to it (dense and W2), and the rows of what reads it and of the embeddings.
    Adds ``mean_angle``, ``sd_angle_relative``, ``max_abs_cosine`` and, its random value, ``max_abs_cosine_random``.
    """
    writes = table.kind.isin(WRITERS)

    def of_side(name, suffix=""):
        return table[f"{name}_rows{suffix}"].where(~writes, table[f"{name}_columns{suffix}"])

    return table.assign(
        mean_angle=of_side("mean_angle"),
        sd_angle_relative=of_side("sd_angle", "_relative"),
        max_abs_cosine=of_side("max_abs_cosine"),
        max_abs_cosine_random=of_side("max_abs_cosine") / of_side("max_abs_cosine", "_relative"),
    )

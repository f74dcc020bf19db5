"""What notebook 01 alone needs: the spectral norm that the sizes of the entries explain."""

import numpy as np

from nla.nulls.draws import random_signs
from nla.numerics import spectra


def random_sign_spectral(matrix, draws=3):
    """``sign_spectral``: mean spectral norm of `random_signs`, which is what the norms of rows and columns explain."""
    drawn = [spectra.singular_values(spectra.gram(random_signs(matrix, draw)))[0] for draw in range(draws)]
    return {"sign_spectral": float(np.mean(drawn))}


random_sign_spectral.pure = True
COMMON_PASS = [random_sign_spectral]

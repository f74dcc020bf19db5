"""Has a spectrum one mode? Hartigan's dip for all of it, and the largest gap in the tail of a power law."""

import numpy as np


def dip(x):
    """Hartigan's dip: least distance between the empirical distribution function and any that has a single mode.

    Distance is the largest difference of the two functions; the result is between 1/(2n) and 1/4. A sample of n
    uniform numbers, the hardest to tell from one with two modes, exceeds 0.535 / sqrt(n) in 5 of 100 cases (20,000
    samples of n = 1000; 0.52 for n = 200). Values are taken to be distinct.

    References
    ----------
    Hartigan & Hartigan 1985 (doi:10.1214/aos/1176346577).
    """
    x = np.unique(x)
    below = np.arange(len(x))  # n times the distribution function just below x, and at x:
    at = below + 1
    low, high, largest = 0, len(x) - 1, 1.0
    while low < high:
        convex, concave = _hull(x, low, high, 1), _hull(x, low, high, -1)
        place = np.arange(low, high + 1)
        under, over = np.interp(x[place], x[convex], below[convex]), np.interp(x[place], x[concave], at[concave])
        from_convex, from_concave = (over - under)[convex - low], (over - under)[concave - low]
        if max(from_convex.max(), from_concave.max()) <= largest:
            break
        if from_convex.max() >= from_concave.max():  # start to end: where the mode is
            start = convex[from_convex.argmax()]
            end = concave[np.searchsorted(concave, start)]
        else:
            end = concave[from_concave.argmax()]
            start = convex[np.searchsorted(convex, end, side="right") - 1]
        left, right = (at[place] - under)[: start - low + 1], (over - below[place])[end - low :]
        largest = max(largest, left.max(), right.max())
        if (start, end) == (low, high):
            break
        low, high = start, end
    return float(largest / (2 * len(x)))


def _hull(x, low, high, side):
    """Corners, from `low` to `high`, of the greatest convex minorant (side 1) or least concave majorant (-1) of i."""
    corners = []
    for i in range(low, high + 1):
        while len(corners) > 1:
            a, b = corners[-2:]
            if side * ((i - b) * (x[b] - x[a]) - (b - a) * (x[i] - x[b])) > 0:
                break
            corners.pop()
        corners.append(i)
    return np.array(corners)


def gap_p(x, alpha, tail_size):
    """Chance of a gap as large as the largest in the tail, or just below it, if the tail is a power law.

    With the k values of the tail in descending order, i (alpha-1) ln(x_i / x_(i+1)) are independent and exponential
    (Renyi 1953, doi:10.1007/BF02127580); the largest of them is tested. A small p says that something stands apart: a
    group of spikes, or a single largest value ("dragon king"). Eigenvalues repel one another, which makes large gaps
    rarer than that.
    """
    descending, i = x[::-1], np.arange(1, min(tail_size + 1, len(x)))
    if not len(i) or not alpha > 1:
        return np.nan
    gaps = i * (alpha - 1) * np.log(descending[i - 1] / descending[i])
    return float(-np.expm1(len(i) * np.log1p(-np.exp(-gaps.max()))))

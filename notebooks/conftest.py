"""nbval compares text as text and numbers as numbers; not pictures, HTML or warnings.

A checked output passes when its text is the same, whatever the spacing, and every number is near the stored one: counts
are equal, all others within one unit of the last digit shown. What is sampled or ill-conditioned says more in the
metadata of its cell, with the reason; of several entries the first counts whose pattern is found in the stored line:

    "tolerance": [{"lines": "condition", "relative": 0.1, "why": "the smallest singular value is near rounding"}]

`units` are of the last digit shown, `relative` is a share of the larger size, `counts` is a difference of two integers.
"""

import re

NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?(?!\w|[.,]\d)")


def unit(said):
    """One unit of the last digit of a number as it stands: 0.01 of 1.42, 1e-7 of 1.42e-05, 0 of a count."""
    mantissa, _, exponent = said.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals or exponent else 0.0


def near(stored, found, units=1, relative=0.0, counts=0, **_):
    """Whether two numbers as they stand are within the tolerance; 1 and 0.999 are, as `:.3g` writes what is near 1."""
    a, b = (float(said.replace(",", "").replace("−", "-")) for said in (stored, found))
    finest = min(filter(None, (unit(stored), unit(found))), default=None)
    allowed = counts if finest is None else units * finest
    return abs(a - b) <= max(allowed, relative * max(abs(a), abs(b))) * (1 + 1e-9)


def differs(stored, found, tolerance=()):
    """What is wrong with `found`, in one line; nothing where it says the same as `stored`."""
    before, now = ([" ".join(line.split()) for line in text.splitlines()] for text in (stored, found))
    if len(before) != len(now):
        return f"{len(now)} lines in place of {len(before)}"
    for old, new in zip(before, now, strict=True):
        if NUMBER.split(old) != NUMBER.split(new):
            return f"{new!r} in place of {old!r}"
        allowed = next((entry for entry in tolerance if re.search(entry.get("lines", ""), old)), {})
        for pair in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True):
            if not near(*pair, **allowed):
                return f"{pair[1]} in place of {pair[0]}, beyond {allowed or 'the last digit'}, in {new!r}"
    return ""


class Said(str):
    """An output, equal to another that says the same within the tolerance of its cell."""

    tolerance = ()

    def __eq__(self, other):
        return not differs(self, other, self.tolerance)

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


def pytest_collectstart(collector):
    """Add the kinds of output that are not compared."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("text/html", "stderr", "image/svg+xml", "application/javascript")


def pytest_itemcollected(item):
    """nbval passes each text through `sanitize` before it compares; here it becomes one with a tolerance."""
    if hasattr(item, "compare_outputs"):
        tolerance = item.cell.metadata.get("tolerance", ())
        kind = type("Said", (Said,), {"tolerance": tolerance})
        item.sanitize = lambda text: kind(text) if isinstance(text, str) else text
        item.format_output_compare = lambda key, *texts: item.comparison_traceback.append(differs(*texts, tolerance))

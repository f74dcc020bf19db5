"""The committed notebooks."""

from functools import cache

import nbformat


@cache
def committed(path):
    """A notebook as it lies in the checkout, parsed once; not to be changed."""
    return nbformat.read(path, as_version=4)

"""The measures, one module per notebook; each is a function of one Matrix that returns a flat dict."""

from nla.measures.norms import norms

__all__ = ["norms"]

"""Figures that belong to one notebook each; what several share is in nla.figures."""

"""How the weight matrices of large language models change while the models are trained."""

import lazy_loader

# Nothing is imported before it is asked for: the public names are listed in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

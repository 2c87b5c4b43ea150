"""Recipes as data, the training by a recipe, and the run folder that it writes.

    run = train("resnet20", "cifar10", "runs/resnet20", recipe="fast")

The public names are in `__init__.pyi`; TensorFlow is imported at the first use of a name that needs it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

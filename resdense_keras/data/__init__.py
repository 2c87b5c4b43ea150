"""Data for training and measuring: a spec becomes splits, a split becomes batches; one function decodes every image.

    dataset = load("digits")
    for images, labels in pipeline(dataset.train, 128, augment=shift_and_mirror(pad=1, mirror=False)): ...

The public names stand in `__init__.pyi`. Only `pipeline`, `naming_bad_files` and `shift_and_mirror` need TensorFlow,
which is imported with the first use of one of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Data for training and measuring: a spec becomes splits, a split becomes batches, and one function decodes all images.

    dataset = load("digits")
    for images, labels in pipeline(dataset.train, 128, augment=shift_and_mirror(pad=1, mirror=False)): ...

The public names are in `__init__.pyi`. TensorFlow is imported at the first use of `pipeline`, `naming_bad_files` or
`shift_and_mirror`; the other names do not need it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

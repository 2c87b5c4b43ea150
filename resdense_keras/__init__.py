"""ResNet and DenseNet as Functional Keras 3 models: `model = resdense_keras.densenet121()`.

The public names are in `__init__.pyi`, for type checkers and for the line below. That line imports a module when one of
its names is first used, so that the command line's help, and a board that only measures .tflite files, need no Keras. A
module's name is in the plural where a function has the singular, because `resdense_keras.resnet` can be only one of the
two.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

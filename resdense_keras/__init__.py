"""ResNet and DenseNet as Functional Keras 3 models: `model = resdense_keras.densenet121()`.

The public names stand in `__init__.pyi`, for type checkers and for the line below, which imports a name's module when
the name is first used: the command line's help and a board that only measures .tflite files need no Keras. Modules are
in the plural where a function has the singular, because `resdense_keras.resnet` can be only one of the two.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""From a Keras model to checked and measured .tflite files.

    report = resdense_export.export(model, "bundle", dataset=resdense_keras.data.load("digits"))

The public names are in `__init__.pyi`; each imports its module when it is first used. A module's name is a noun where a
function's is a verb, because `resdense_export.check` can be only one of the two.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

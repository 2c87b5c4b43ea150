"""From a Keras model to checked and measured .tflite files.

    report = resdense_export.export(model, "bundle", dataset=resdense_keras.data.load("digits"))

The public names stand in `__init__.pyi`; each imports its module when it is first used. Modules are called by the noun
where a function is the verb: `resdense_export.check` can be only one of the two.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

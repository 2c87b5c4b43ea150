"""Converts models that were trained in 16 bits to float32, as the phone computes them."""

import tempfile
from pathlib import Path

from ..models.fitness import check_float, copied


def as_float32(model):
    """`model`, or a float32 copy of it where a layer computes in another type.

    The copy has the same weights. Its batch norms and head compute in 32 bits, as they will on the phone.

    Raises:
        RequestError: Keras quantized a layer.
    """
    import keras

    check_float(model)
    if all(layer.compute_dtype == "float32" for layer in _layers(model)):
        return model

    def in_float32(operation):
        if not isinstance(operation, keras.layers.Layer):
            return operation  # keras.ops in the graph have no type of their own
        return copied(operation, dtype="float32")

    copy = keras.models.clone_model(model, clone_function=in_float32, recursive=True)
    with tempfile.TemporaryDirectory() as folder:  # through a file: some layers derive state while they load
        model.save_weights(Path(folder) / "all.weights.h5")
        copy.load_weights(Path(folder) / "all.weights.h5")
    return copy


def _layers(model):
    """All layers of `model`, also those of nested models."""
    for layer in model.layers:
        yield layer
        yield from _layers(layer) if hasattr(layer, "layers") else ()

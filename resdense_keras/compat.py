"""Everything private that this package uses of Keras, TensorFlow and LiteRT, each thing once.

SEEN are the versions that it was seen to work with. Where another version has changed something,
tests/resdense_keras/test_compat.py is the first to fail. This module imports none of the three: it works on the objects
that it is given.
"""

import importlib

SEEN = {"keras": "3.15.1", "tensorflow": "2.21.0", "ai-edge-litert": "2.3.0"}
KERAS_MODELS = "keras.src.models"  # the module of each kind of model, as a saved configuration names it


def graph(model):
    """The Functional model inside a built Sequential one; anything else is returned as it is."""
    return getattr(model, "_functional", None) or model


def is_graph(model):
    """Whether a model holds its calls as a graph: Functional ones do."""
    return hasattr(model, "_nodes_by_depth")


def calls(model):
    """The calls of a graph, those near its inputs first; an empty list for anything else."""
    depths = getattr(model, "_nodes_by_depth", {})
    return [call for depth in sorted(depths, reverse=True) for call in depths[depth]]


def maker(tensor):
    """(operation that made a Keras tensor, number of its call, number of its output)."""
    return tuple(tensor._keras_history)


def sources(operation, number):
    """The Keras tensors that a call of an operation read; none where the call is unknown."""
    known = operation._inbound_nodes if operation is not None else ()
    return known[number].arguments.keras_tensors if known else []


def run_through(graph, inputs, at):
    """The outputs of a graph for symbolic inputs; `at(operation)` gives the function that is called at each one."""
    return graph._run_through_graph(inputs, operation_fn=at)


def parts(layer):
    """A layer and all layers inside it."""
    return (layer, *layer._flatten_layers(include_self=False))


def set_generator(layer, generator):
    """Replaces the random generator of a layer; where Keras runs on JAX, also the one that it uses in tf.data."""
    layer.generator = generator
    layer._backend_generators = {"tensorflow": generator}


def is_keras_operation(kind):
    """Whether a class of operations, such as that of `keras.ops.pad`, is Keras' own."""
    return kind.__module__.startswith("keras.src.ops.")


def image_augmentation():
    """The base class of Keras' augmentation layers, or None where this version of Keras has it elsewhere."""
    try:
        place = importlib.import_module(
            "keras.src.layers.preprocessing.image_preprocessing.base_image_preprocessing_layer"
        )
    except ImportError:
        return None
    return getattr(place, "BaseImagePreprocessingLayer", None)


def keep_constants_outside(converter):
    """Lets TensorFlow's converter write constants behind the flatbuffer, as it does in files over 2 GB."""
    converter._experimental_use_buffer_offset = True


def accumulate_in(converter, kind):
    """Lets TensorFlow's converter mark a float16 file for sums of this type."""
    converter.target_spec._experimental_supported_accumulation_type = kind


def operators(interpreter):
    """[{"op_name", "inputs", "outputs", ...}] of a LiteRT interpreter, with a DELEGATE for each delegated piece."""
    return interpreter._get_ops_details()

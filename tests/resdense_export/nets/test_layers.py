"""The tables of layers agree: what the reader gives can be built again, and what has weights is counted."""

import inspect
import re

from resdense_export.nets import layers
from resdense_export.nets.layers import KINDS, READERS, STRUCTURE, WEIGHTED


def test_every_kind_that_is_read_or_made_by_a_rewrite_can_be_built():
    from pathlib import Path

    from resdense_export.nets import rewriting

    sources = [inspect.getsource(layers), *(path.read_text() for path in Path(rewriting.__file__).parent.glob("*.py"))]
    named = {
        kind for source in sources for kind in re.findall(r'kind="(\w+)"|\[\("(\w+)", \{', source) for kind in kind
    }
    assert {name for name in named if name} <= {*KINDS, *STRUCTURE}


def test_what_keras_calls_a_layer_of_a_kind_is_read():
    import keras

    for kind, row in KINDS.items():
        if row.aware and hasattr(keras.layers, kind):
            assert kind in READERS, kind


def test_layers_with_weights_have_a_rule_for_their_multiply_adds():
    import keras

    from resdense_keras.profiles import profile

    for kind in WEIGHTED:
        image = keras.Input((4, 4, 3))
        arguments = {"Conv2D": (5, 3), "DepthwiseConv2D": (3,), "Dense": (5,)}[kind]
        found = profile(keras.Model(image, getattr(keras.layers, kind)(*arguments)(image)))
        assert found.macs > 0 and found.uncounted == ()


def test_a_net_from_a_file_is_read_as_it_was_built(tmp_path):
    """Keras gives the key of a slice back as a list: option A's shortcuts were carried then, and not rewritten."""
    import keras

    import resdense_keras
    from resdense_export.nets.reading import read

    built = resdense_keras.cifar_resnet(depth=8, width=4, input_shape=(8, 8, 3))
    built.save(tmp_path / "net.keras")
    kinds = [node.kind for node in read(keras.saving.load_model(tmp_path / "net.keras"))]
    assert "Slice" in kinds and kinds == [node.kind for node in read(built)]

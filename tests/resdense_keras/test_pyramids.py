"""Laws of `pyramid`: which features it takes, from which models, and that they are the net's own."""

import re

import keras
import numpy as np
import pytest

import resdense_keras
from resdense_keras.pyramids import pyramid

IMAGE = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype("float32")
IMAGENET = {"blocks": (2, 1, 1, 2), "width": 4}
SMALL = {
    "v1": lambda **options: resdense_keras.resnet(variant="v1", block="basic", **IMAGENET, **options),
    "v1.5": lambda **options: resdense_keras.resnet(**IMAGENET, **options),
    "v2": lambda **options: resdense_keras.resnet(variant="v2", **IMAGENET, **options),
    "v2-keras": lambda **options: resdense_keras.resnet(variant="v2-keras", **IMAGENET, **options),
    "vd": lambda **options: resdense_keras.resnet(variant="vd", **IMAGENET, **options),
    "plain": lambda **options: resdense_keras.resnet(shortcut=None, **IMAGENET, **options),
    "dense": lambda **options: resdense_keras.densenet(blocks=(1, 2, 1, 2), growth_rate=4, **options),
    "recompute": lambda **options: resdense_keras.densenet(
        blocks=(1, 2, 1, 2), growth_rate=4, recompute=True, **options
    ),
}
# the ReLU whose output each stride shows, and its channels
FEATURES = {
    "v1": (("stage1_block2_relu", "stage2_block1_relu", "stage3_block1_relu", "stage4_block2_relu"), (4, 8, 16, 32)),
    "v2": (("stage2_block1_relu1", "stage3_block1_relu1", "stage4_block1_relu1", "head_relu"), (16, 32, 64, 128)),
    "v2-keras": (("stage1_block2_relu1", "stage2_block1_relu1", "stage3_block1_relu1", "head_relu"), (16, 16, 32, 128)),
    "dense": (
        ("stage1_transition_relu", "stage2_transition_relu", "stage3_transition_relu", "head_relu"),
        (12, 14, 11, 13),
    ),
}


def shapes(model):
    return {stride: feature.shape for stride, feature in model.output.items()}


@pytest.mark.parametrize("net", SMALL)
def test_each_stride_has_its_size(net):
    features = pyramid(SMALL[net](include_top=False))(IMAGE)
    assert {stride: feature.shape[1:3] for stride, feature in features.items()} == {
        f"stride{s}": (64 // s, 96 // s) for s in (4, 8, 16, 32)
    }


@pytest.mark.parametrize("net", FEATURES)
def test_the_features_are_the_last_relu_at_their_stride(net):
    model = SMALL[net](input_shape=(64, 96, 3))
    names, channels = FEATURES[net]
    features = pyramid(model).output
    for feature, name in zip(features.values(), names, strict=True):
        assert feature is model.get_layer(name).output, name
    assert tuple(feature.shape[-1] for feature in features.values()) == channels


@pytest.mark.parametrize("build", [resdense_keras.cifar_resnet, resdense_keras.cifar_densenet])
def test_cifar_nets_have_strides_1_2_and_4(build):
    size = {"depth": 8} if build is resdense_keras.cifar_resnet else {"depth": 10, "growth_rate": 4}
    sizes = {stride: shape[1:3] for stride, shape in shapes(pyramid(build(**size))).items()}
    assert sizes == {"stride1": (32, 32), "stride2": (16, 16), "stride4": (8, 8)}


def test_the_published_nets_have_their_published_channels():
    """He et al. 2015, table 1; Huang et al. 2017, table 1: 64 + 6 * 32, then half of that + 12 * 32, and so on."""
    channels = {
        name: [shape[-1] for shape in shapes(pyramid(resdense_keras.create(name))).values()]
        for name in ("resnet50", "densenet121")
    }
    assert channels == {"resnet50": [256, 512, 1024, 2048], "densenet121": [256, 512, 1024, 1024]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in resdense_keras.list_models() if not re.search(r"190|200|201|250|264|1001|1202", name)]
)
def test_every_net_of_the_catalogue_has_a_pyramid(name):
    """But those that take Keras minutes to build; their stages are those of the smaller ones."""
    model = resdense_keras.create(name)
    side = model.input_shape[1]
    sizes = {stride: shape[1:3] for stride, shape in shapes(pyramid(model)).items()}
    strides = (4, 8, 16, 32) if side == 224 else (1, 2, 4)
    assert sizes == {f"stride{s}": (side // s, side // s) for s in strides}


@pytest.mark.parametrize("net", SMALL)
def test_the_head_reads_the_last_features(net):
    model = SMALL[net](input_shape=(64, 96, 3), classes=5)
    pooled = np.asarray(pyramid(model)(IMAGE)["stride32"]).mean((1, 2))
    np.testing.assert_allclose(model.get_layer("predictions")(pooled), model(IMAGE), rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"include_top": False, "pooling": "avg"},
        {"input_shape": (64, 96, 3), "include_preprocessing": True},
        {"input_tensor": keras.Input((64, 96, 3), name="mine") * 2.0},
        {"input_shape": (None, None, 3)},
    ],
    ids=lambda options: next(reversed(options)),
)
def test_how_the_net_was_called_does_not_matter(options):
    model = SMALL["v1.5"](**options)
    features = pyramid(model)
    assert features.inputs[0] is model.inputs[0]
    assert features(IMAGE)["stride8"].shape == (1, 8, 12, 32)


def test_the_weights_are_the_nets_own():
    model = SMALL["dense"](include_top=False)
    ours = {id(weight) for weight in pyramid(model).weights}
    assert ours == {id(weight) for weight in model.weights}


def test_a_reloaded_net_and_a_net_with_another_head_have_the_same_pyramid(tmp_path):
    model = SMALL["v2"](include_top=False)
    expected = pyramid(model)(IMAGE)
    model.save(tmp_path / "net.keras")
    headed = keras.Model(model.input, keras.layers.Conv2D(2, 1)(model.output))
    for same in (keras.saving.load_model(tmp_path / "net.keras"), headed):
        found = pyramid(same)(IMAGE)
        assert all(np.array_equal(found[stride], expected[stride]) for stride in expected)


def foreign():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.ReLU(name="head_relu")(inputs), name="theirs")


def cut_before_the_head():
    model = SMALL["dense"](include_top=False)
    return keras.Model(model.input, model.get_layer("stage4_block1_concat").output, name="cut")


@pytest.mark.parametrize(
    "build, name",
    [
        (foreign, "theirs"),
        (lambda: keras.Sequential([SMALL["v1"](include_top=False)], name="wrapped"), "wrapped"),
        (cut_before_the_head, "cut"),
        (lambda: "resnet50", "resnet50"),
    ],
)
def test_a_model_that_was_not_built_here_is_refused_by_name(build, name):
    with pytest.raises(ValueError) as caught:
        pyramid(build())
    assert f"pyramid() was given '{name}'; it needs a whole net of this package" in str(caught.value)

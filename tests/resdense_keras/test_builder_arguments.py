"""Every public argument of every base builder: what is allowed builds, runs and profiles, all else is named."""

import inspect
import re

import keras
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import resdense_keras

BASES = {
    base.__name__: base
    for base in (
        resdense_keras.resnet,
        resdense_keras.cifar_resnet,
        resdense_keras.densenet,
        resdense_keras.cifar_densenet,
    )
}
SIDE = 16  # the smallest side of three stages under the ImageNet stem
IMAGE = (SIDE, SIDE, 3)
GRAY = resdense_keras.Preprocessing((127.5,), (64.0,), "L")
NO_SHRINKING = (Phase.explicit, Phase.generate)  # a failure would build hundreds of nets to become a simpler one
A_FILE = "a file of the net's own weights"


SHAPES = st.one_of(
    st.none(),
    st.tuples(*[st.sampled_from((None, SIDE, SIDE + 1, SIDE + 8))] * 2, st.sampled_from((1, 3, 4))),
)
VALID_COMMON = {
    "include_top": st.booleans(),
    "weights": st.sampled_from((None, A_FILE)),
    "input_tensor": st.booleans(),  # whether the shape is given as a tensor
    "input_shape": SHAPES,
    "pooling": st.sampled_from((None, "avg", "max")),
    "classes": st.one_of(st.integers(1, 12), st.just(np.int64(7))),
    "classifier_activation": st.sampled_from((None, "softmax", "sigmoid", keras.activations.softmax)),
    "name": st.sampled_from((None, "mine", "net-1.0")),
    "include_preprocessing": st.sampled_from((False, True, GRAY)),
    "dropout": st.floats(0, 0.9),
    "bn_momentum": st.floats(0, 0.999),
    "bn_epsilon": st.floats(1e-6, 0.1),
}
VALID_RESNET = {
    **VALID_COMMON,
    "block": st.sampled_from(("basic", "bottleneck")),
    "variant": st.sampled_from((None, "v1", "v1.5", "v2", "v2-keras", "vd")),
    "shortcut": st.sampled_from(("A", "B", None)),
    "conv_bias": st.sampled_from((None, True, False)),
    "zero_gamma": st.booleans(),
    "width": st.integers(2, 6),
    "stem": st.sampled_from((None, "imagenet", "deep", "cifar")),
}
VALID_DENSENET = {
    **VALID_COMMON,
    "growth_rate": st.integers(1, 6),
    "bottleneck": st.booleans(),
    "compression": st.floats(0.5, 1),
    "stem_width": st.one_of(st.none(), st.integers(2, 9)),
    "recompute": st.booleans(),
    "stem": st.sampled_from(("imagenet", "deep", "cifar")),
}
BLOCKS = st.lists(st.integers(1, 2), min_size=1, max_size=3)
VALID = {
    "resnet": {**VALID_RESNET, "blocks": BLOCKS},
    "cifar_resnet": {**VALID_RESNET, "depth": st.just(None)},  # chosen by `agreeing`: it follows from the block
    "densenet": {**VALID_DENSENET, "blocks": BLOCKS.map(tuple)},
    "cifar_densenet": {**VALID_DENSENET, "depth": st.just(None)},
}


def agreeing(base, arguments):
    """`arguments` with those changed that contradict another: exactly what the docstrings and messages forbid."""
    arguments = dict(arguments)
    if "depth" in arguments:
        bottleneck = arguments.get("block") == "bottleneck" or arguments.get("bottleneck")
        arguments["depth"] = {"cifar_resnet": (8, 11), "cifar_densenet": (7, 10)}[base][bool(bottleneck)]
    if "variant" in arguments:
        preactivation = (arguments["variant"] or "").startswith("v2")
        if preactivation:
            arguments["conv_bias"] = None
        if preactivation or arguments["shortcut"] is None:
            arguments["zero_gamma"] = False
        if arguments["variant"] == "vd" and arguments["shortcut"] == "A":
            arguments["shortcut"] = "B"
    shape = arguments["input_shape"]
    if arguments["include_preprocessing"] is not False:
        channels = 1 if arguments["include_preprocessing"] is GRAY else 3
        shape = arguments["input_shape"] = (*(shape or IMAGE)[:2], channels)
    arguments["input_tensor"] = keras.Input(shape or IMAGE) if arguments["input_tensor"] else None
    return arguments


@pytest.mark.parametrize("base", BASES)
def test_every_public_argument_is_drawn(base):
    assert set(VALID[base]) == set(INVALID[base]) == set(inspect.signature(BASES[base]).parameters)


@pytest.mark.parametrize("base", BASES)
@settings(max_examples=5, phases=NO_SHRINKING)
@given(data=st.data())
def test_valid_arguments_build_run_and_profile(base, data, tmp_path):
    arguments = agreeing(base, data.draw(st.fixed_dictionaries(VALID[base])))
    weights = arguments.pop("weights")
    model = BASES[base](**arguments)
    shape = [size or SIDE for size in model.inputs[0].shape[1:]]
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype("float32")
    answer = np.asarray(model(image))
    assert np.isfinite(answer).all()
    assert answer.shape == expected_shape(arguments, answer.shape)
    assert model.name == (arguments["name"] or base)
    counted = resdense_keras.profile(model, input_shape=shape)
    assert (counted.parameters, counted.macs > 0) == (model.count_params(), True)
    if weights == A_FILE:
        model.save_weights(tmp_path / "net.weights.h5")
        again = BASES[base](**arguments, weights=str(tmp_path / "net.weights.h5"))
        np.testing.assert_allclose(again(image), answer, atol=1e-6)


def expected_shape(arguments, found):
    """(1, classes) with a head, (1, C) with pooling, else (1, h, w, C)."""
    if arguments["include_top"]:
        return (1, arguments["classes"])
    return (1, found[-1]) if arguments["pooling"] else (1, *found[1:3], found[-1])


# Invalid values, each with what its message must say is allowed

TEXT = st.text(max_size=5)
NOT_A_BOOLEAN = (st.one_of(st.integers(), TEXT, st.none()), "allowed: True, False")


def not_integer(minimum, allowed=None, *, none=True):
    wrong = st.one_of(st.integers(max_value=minimum - 1), st.booleans(), st.floats(), TEXT, st.lists(st.integers(1, 3)))
    return (st.one_of(wrong, st.none()) if none else wrong), allowed or f"must be an integer of {minimum} or more"


def not_number(inside, allowed):
    wrong = st.one_of(st.floats().filter(lambda x: not inside(x)), st.booleans(), st.none(), TEXT, st.binary())
    return st.one_of(wrong, st.sampled_from((10**400, 1j, np.array([0.5, 0.5])))), f"must be a number in {allowed}"


def not_choice(*choices):
    wrong = st.one_of(TEXT, st.integers(), st.floats(), st.booleans(), st.none(), st.lists(TEXT))
    wrong = wrong.filter(lambda x: not any(type(x) is type(choice) and x == choice for choice in choices))
    return wrong, f"allowed: {', '.join(map(repr, choices))}"


IMAGE_SHAPE = "must be (height, width, channels)|must be an integer of"
NOT_SHAPES = [
    *((), (SIDE, SIDE), (1, SIDE, 3), (SIDE, -1, 3), (SIDE, SIDE, 0), (SIDE, SIDE, None), (16.0, SIDE, 3)),
    *((SIDE, "16", 3), (True, SIDE, 3), "abc", 5, 0, np.zeros(2)),
]
NOT_TENSORS = [
    *(np.zeros((SIDE, SIDE, 3)), "image", 5),
    *(keras.Input(shape) for shape in ((SIDE, SIDE), (2, 2, 3), (SIDE, SIDE, None))),
]
INVALID_COMMON = {
    "include_top": NOT_A_BOOLEAN,
    "weights": (st.sampled_from((5, "imagenet", "net.pth")), "must be the path of a file|known: .|safetensors"),
    "input_tensor": (st.sampled_from(NOT_TENSORS), f"must be a Keras tensor|{IMAGE_SHAPE}"),
    "input_shape": (st.sampled_from(NOT_SHAPES), IMAGE_SHAPE),
    "pooling": not_choice(None, "avg", "max"),
    "classes": not_integer(1),
    "classifier_activation": (
        st.one_of(TEXT, st.integers(), st.lists(st.integers())),
        "allowed: 'softmax', None for logits",
    ),
    "name": (st.sampled_from(("a/b", 5, 0, "", ("a",), b"a")), "must be"),
    "include_preprocessing": (
        st.sampled_from((None, 0, 1, "imagenet", GRAY)),
        "allowed: True, False or a Preprocessing|the record has 1 channels, the input 3",
    ),
    "dropout": not_number(lambda x: 0 <= x < 1, "[0, 1)"),
    "bn_momentum": not_number(lambda x: 0 <= x < 1, "[0, 1)"),
    "bn_epsilon": not_number(lambda x: 0 < x < 1, "(0, 1)"),
}
NOT_BLOCKS = (
    st.one_of(st.sampled_from(((), "34", b"34", 3, None, (0,), (1, -1))), st.lists(not_integer(1)[0], min_size=1)),
    "must be a sequence of integers|must be an integer of 1 or more|needs at least one stage",
)
INVALID_RESNET = {
    **INVALID_COMMON,
    "block": not_choice("basic", "bottleneck"),
    "variant": not_choice(None, "v1", "v1.5", "v2", "v2-keras", "vd"),
    "shortcut": not_choice("A", "B", None),
    "conv_bias": not_choice(None, True, False),
    "zero_gamma": NOT_A_BOOLEAN,
    "width": not_integer(1),
    "stem": not_choice(None, "imagenet", "deep", "cifar"),
}
INVALID_DENSENET = {
    **INVALID_COMMON,
    "growth_rate": not_integer(1),
    "bottleneck": NOT_A_BOOLEAN,
    "compression": not_number(lambda x: 0 < x <= 1, "(0, 1]"),
    "stem_width": not_integer(2, none=False),
    "recompute": NOT_A_BOOLEAN,
    "stem": not_choice("imagenet", "deep", "cifar"),
}


def not_depth(step, offset, options):
    unfit = st.integers(step + offset, 2000).filter(lambda depth: (depth - offset) % step)
    wrong, least = not_integer(step + offset)
    return st.one_of(wrong, unfit), f"{least}|with {options} it must be {step}n + {offset}"


INVALID = {
    "resnet": {**INVALID_RESNET, "blocks": NOT_BLOCKS},
    "cifar_resnet": {**INVALID_RESNET, "depth": not_depth(6, 2, 'block="basic"')},
    "densenet": {**INVALID_DENSENET, "blocks": NOT_BLOCKS},
    "cifar_densenet": {**INVALID_DENSENET, "depth": not_depth(6, 4, "bottleneck=True")},
}
SMALL = {
    "resnet": {"blocks": (1, 1), "width": 2},
    "cifar_resnet": {"depth": 8, "width": 2},
    "densenet": {"blocks": (1, 1), "growth_rate": 2},
    "cifar_densenet": {"depth": 10, "growth_rate": 2},
}


@pytest.mark.parametrize("base, argument", [(base, argument) for base in BASES for argument in VALID[base]])
@settings(max_examples=10, phases=NO_SHRINKING)
@given(data=st.data())
def test_an_invalid_argument_is_named_with_what_is_allowed(base, argument, data):
    values, allowed = INVALID[base][argument]
    arguments = {**SMALL[base], "input_shape": IMAGE, argument: data.draw(values)}
    if argument == "input_tensor":
        del arguments["input_shape"]
    with pytest.raises(resdense_keras.RequestError) as caught:
        BASES[base](**arguments)
    message = str(caught.value)
    assert re.search(rf"\b{argument}\b", message), message
    assert any(part in message for part in allowed.split("|")), message


CONTRADICTIONS = [
    ("resnet", {"variant": "v2", "conv_bias": True}, "conv_bias=True", "allowed: None"),
    ("resnet", {"variant": "v2-keras", "conv_bias": False}, "conv_bias=False", "allowed: None"),
    ("resnet", {"variant": "v2", "zero_gamma": True}, "zero_gamma=True", "(v1, v1.5, vd)"),
    ("cifar_resnet", {"shortcut": None, "zero_gamma": True}, "zero_gamma=True", "a shortcut around it"),
    ("resnet", {"variant": "vd", "shortcut": "A"}, 'shortcut="A"', 'allowed: "B", None'),
    ("resnet", {"stem": "deep", "width": 1}, "width=1", "an integer of 2 or more"),
    ("resnet", {"variant": "vd", "width": 1}, "width=1", "an integer of 2 or more"),
    ("densenet", {"compression": 0.01}, "compression=0.01", "at least 1/6"),
    ("resnet", {"input_shape": (16, 16, 1), "include_preprocessing": True}, "include_preprocessing", "has 3 channels"),
]


@pytest.mark.parametrize("base, arguments, given, allowed", CONTRADICTIONS)
def test_arguments_that_contradict_each_other_are_named(base, arguments, given, allowed):
    with pytest.raises(resdense_keras.RequestError) as caught:
        BASES[base](**{**SMALL[base], "input_shape": IMAGE, **arguments})
    assert given in str(caught.value) and allowed in str(caught.value)


def test_a_shape_and_a_tensor_of_another_shape_are_both_named():
    with pytest.raises(resdense_keras.RequestError) as caught:
        resdense_keras.resnet(**SMALL["resnet"], input_shape=(24, 24, 3), input_tensor=keras.Input(IMAGE))
    assert "input_shape=(24, 24, 3) and an input_tensor of shape (16, 16, 3)" in str(caught.value)

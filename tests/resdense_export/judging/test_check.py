"""Laws of the gates: a good file passes all of them, each fault trips its own, and no file takes the parent down."""

import dataclasses
import math
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from resdense_export.judging.check import GATES, check, compare
from resdense_export.judging.intervals import drop_interval
from resdense_export.judging.reference import predictions
from resdense_export.limits import Limits
from resdense_export.making.conversion import convert
from resdense_export.making.quantization import quantize
from resdense_export.schemes import SCHEMES, standard_schemes
from resdense_export.sources import generated_images
from resdense_export.tflite.child import Child, Fault
from resdense_export.tflite.flatbuffer import pack, unpack
from resdense_export.verdicts import unproved
from resdense_keras.errors import RequestError
from resdense_keras.intervals import may_be_chance, wilson


@pytest.fixture(scope="module")
def expected(nets, test_images):
    """{kind: Keras' probabilities for the test images}."""
    return {kind: predictions(net, test_images[0]) for kind, net in nets.items()}


@pytest.fixture(scope="module")
def calibration(training_images):
    return training_images[0][:100]


@pytest.fixture(scope="module")
def child():
    with Child() as child:
        yield child


@pytest.fixture
def write(tmp_path):
    """Writes bytes to a file whose name tells the scheme; gives its path."""

    def to_file(content, scheme="fp32"):
        path = tmp_path / f"net-{scheme}.tflite"
        path.write_bytes(content)
        return path

    return to_file


def classifier(layer, shape=(16, 16, 3)):
    """A small untrained net around `layer`, for faults that need no accuracy."""
    inputs = keras.Input(shape)
    x = layer(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(x))
    return keras.Model(inputs, keras.layers.Dense(6, activation="softmax")(x))


# A good file


@pytest.mark.parametrize("scheme", standard_schemes())
@pytest.mark.parametrize("kind", ["residual", "dense"])
def test_good_file_passes_every_gate_even_strictly(
    kind, scheme, float_files, expected, test_images, calibration, write, child
):
    path = write(quantize(float_files[kind], scheme, calibration), scheme)
    found = check(path, expected[kind], *test_images, strict=True, child=child)
    assert found.passed, found.failures
    not_measured = {gate for gate, result in found.gates.items() if result is None}
    own = {"int8": {"int8", "input_range"}, "fp16": {"half_range"}, "pruned": {"half_range"}}.get(scheme, set())
    assert not_measured == {"int8", "input_range", "half_range", "partitions"} - own
    assert tuple(found.gates) == GATES
    assert (found.images, found.weak) == (600, False)
    assert found.accuracy > 0.95 and found.agreement > 0.98
    assert found.accuracy_interval[0] < found.accuracy < found.accuracy_interval[1]


def test_operators_and_delegate_account_for_the_whole_file(float_files, write, child):
    found = check(write(float_files["dense"]), child=child)
    assert found.operators["CONV_2D"] == 4 and found.operators["CONCATENATION"] == 2
    assert found.delegated == {"nodes": sum(found.operators.values()), "partitions": 1, "left": {}}


def test_without_data_only_parity_is_judged(nets, float_files, write):
    found = check(write(float_files["dense"]), nets["dense"])
    assert found.gates["parity"]["passed"] and found.max_difference < 1e-5
    assert (found.images, found.accuracy, found.agreement, found.gates["agreement"]) == (None, None, None, None)


@pytest.mark.parametrize(
    ("scheme", "error", "passes"),
    [
        ("fp32", 0.02, True),
        ("fp32", 0.1, False),
        ("dynamic", 0.6, True),  # a logit of a trained net in int8, where a probability may be off by .1
        ("dynamic", 6, False),
        ("int8", 1.2, True),
        ("int8", 9, False),
        ("int8", math.inf, False),
    ],
)
def test_logits_may_be_off_in_proportion_to_their_span(scheme, error, passes):
    logits = np.tile([-20.0, 0, 20], (600, 1))
    assert compare(logits + error, logits, None, scheme)[1]["parity"]["passed"] == passes


def test_no_output_is_near_an_infinite_one():
    expected = np.tile([-20.0, 0, 20], (600, 1))
    outputs = expected.copy()
    expected[0, 0] = math.inf
    assert not compare(outputs, expected, None, "fp32")[1]["parity"]["passed"]


def test_probabilities_are_held_to_the_limit_itself():
    expected = np.tile([1.0, 0, 0], (600, 1))
    for error, passes in ((0.14, True), (0.16, False)):
        gate = compare(expected + error, expected, None, "int8")[1]["parity"]
        assert gate == {"passed": passes, "detail": f"mean difference from Keras {error}, 0.15 allowed"}


def test_file_of_unknown_scheme_is_compared_too(nets, float_files, tmp_path, child):
    (tmp_path / "net.tflite").write_bytes(float_files["dense"])
    good, bad = (check(tmp_path / "net.tflite", nets[kind], child=child) for kind in ("dense", "residual"))
    assert good.passed and set(bad.failures) == {"parity"}


def test_made_up_images_judge_parity_alone_and_int8_not_even_that(
    nets, float_files, calibration, expected, write, child
):
    images = generated_images((16, 16, 3))
    made_up = predictions(nets["dense"], images)
    for scheme, judged in (("dynamic", True), ("int8", False)):
        path = write(quantize(float_files["dense"], scheme, calibration), scheme)
        found = check(path, made_up, images, real=False, child=child)
        assert found.passed and bool(found.gates["parity"]) == judged
        assert (found.agreement, found.gates["input_range"]) == (None, None)


# Faults of an export, one gate each


def test_swapped_channels_show_in_accuracy_and_not_in_parity(nets, expected, test_images, write, child):
    inputs = keras.Input((16, 16, 3))
    swapped = keras.Model(inputs, nets["dense"](inputs[..., ::-1]))
    path = write(convert(swapped))
    found = check(path, expected["dense"], *test_images, child=child)
    assert "points lost" in found.failures["accuracy"] and found.accuracy < 0.5
    its_own = check(path, predictions(swapped, test_images[0]), test_images[0], child=child)
    assert its_own.passed and its_own.max_difference < 1e-5


def grey_with_a_point(images):
    """Right in their smallest and largest pixel, empty otherwise. Noise, which fills every range, does no harm."""
    spoilt = np.full(images.shape, 110, np.uint8)
    spoilt[np.arange(len(images)), np.arange(len(images)) % spoilt.shape[1], 0] = 255
    return spoilt


@pytest.mark.parametrize(
    ("spoil", "gate"),
    [
        (lambda images: images * np.float32(255), "input_range"),
        (lambda images: images / np.float32(255), "input_range"),
        (grey_with_a_point, "accuracy"),
    ],
    ids=["x255", "/255", "grey"],
)
def test_calibration_on_wrong_pixels_fails(spoil, gate, float_files, expected, test_images, calibration, write, child):
    # Constant images, one image and too few are refused before they do harm: test_quantize.py.
    path = write(quantize(float_files["dense"], "int8", spoil(calibration)), "int8")
    assert gate in check(path, expected["dense"], *test_images, child=child).failures


def test_infinite_padding_before_max_pooling_fails_in_int8_and_passes_in_float(calibration, write, child):
    def pool(x):
        padded = keras.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-math.inf)
        return keras.layers.MaxPooling2D(3, strides=2)(padded)

    floating = convert(classifier(pool))
    assert check(write(floating), child=child).passed
    assert {"padding", "scales"} <= set(
        check(write(quantize(floating, "int8", calibration), "int8"), child=child).failures
    )


def test_tensorflow_operators_fail_by_name(tmp_path, child):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = classifier(keras.layers.BatchNormalization())
    finally:
        keras.config.set_dtype_policy("float32")
    net.export(tmp_path / "net.tflite", format="litert", verbose=False)  # Keras' own export says nothing
    found = check(tmp_path / "net.tflite", child=child)
    assert found.failures["operators"].startswith("not builtin: FlexBiasAdd, FlexConv2D")
    assert not found.gates["opens"]["passed"]


def test_open_sizes_fail(write, child):
    net = classifier(keras.layers.ReLU(), shape=(None, None, 3))
    found = check(write(tf.lite.TFLiteConverter.from_keras_model(net).convert()), child=child)
    assert "has shape" in found.failures["shapes"]


@pytest.mark.parametrize("scheme", ["fp32", "dynamic"])
def test_file_called_int8_that_stayed_float_fails(scheme, float_files, write, child):
    path = write(quantize(float_files["dense"], scheme), "int8")
    assert check(path, child=child).failures["int8"].startswith("11 of 11 stayed float")


def test_one_kind_left_float_is_enough_to_fail(float_files, calibration, write, child, monkeypatch):
    skipped = {"regex": ".*", "operation": "CONCATENATION", "algorithm_key": "no_quantize", "op_config": {}}
    int8 = SCHEMES["int8"]
    monkeypatch.setitem(SCHEMES, "int8", dataclasses.replace(int8, recipe=(*int8.recipe, skipped)))
    path = write(quantize(float_files["dense"], "int8", calibration), "int8")
    assert check(path, child=child).failures["int8"] == "2 of 11 stayed float, such as CONCATENATION"


def test_outputs_that_are_not_finite_fail_and_leave_no_difference(nets, expected, test_images, write, child):
    broken = keras.models.clone_model(nets["dense"])
    broken.set_weights([np.full_like(weight, np.nan) for weight in nets["dense"].get_weights()])
    found = check(write(convert(broken)), expected["dense"], *test_images, child=child)
    assert {"finite", "parity", "accuracy", "agreement"} <= set(found.failures)
    assert found.max_difference is None


def test_other_number_of_outputs_fails_parity(float_files, test_images, write, child):
    found = check(write(float_files["dense"]), np.ones((600, 10), np.float32), test_images[0], child=child)
    assert found.failures == {"parity": "the file gives 6 numbers per image, the model 10"}


@pytest.mark.parametrize("pixels", [8, 32])
def test_images_of_another_size_are_a_wrong_request(pixels, float_files, write, child):
    with pytest.raises(RequestError, match=r"takes images of \[16, 16, 3\], the data have"):
        check(write(float_files["dense"]), images=np.zeros((2, pixels, pixels, 3), np.uint8), child=child)


def test_wrong_requests_are_refused(float_files, write, tmp_path):
    path, images = write(float_files["dense"]), np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(RequestError, match="there is no file"):
        check(tmp_path / "none.tflite")
    with pytest.raises(RequestError, match="no images were given"):
        check(path, images=images[:0])
    with pytest.raises(RequestError, match="3 labels were given for 2 images"):
        check(path, images=images, labels=np.zeros(3, int))
    with pytest.raises(RequestError, match="5 predictions were given for 2 images"):
        check(path, np.zeros((5, 6), np.float32), images)


# How much a file may lose


def answers(images, lost=0, won=0):
    """(outputs, expected, labels): the file loses `lost` images that Keras has right, and wins `won`."""
    labels = np.zeros(images, int)
    expected, outputs = np.tile([0.9, 0.1], (images, 1)), np.tile([0.9, 0.1], (images, 1))
    outputs[:lost] = (0.1, 0.9)
    expected[lost : lost + won] = (0.1, 0.9)
    return outputs, expected, labels


@pytest.mark.parametrize(
    ("images", "lost", "passes", "strictly"),
    [
        (1000, 9, True, True),  # .9 points
        (1000, 11, True, False),  # 1.1 points: 1 is within the interval
        (1000, 30, False, False),  # 3 points: 1 is not
        (100, 4, True, False),  # 4 points of 100 images are no evidence yet
        (100, 20, False, False),
    ],
)
def test_file_fails_where_the_whole_interval_of_the_drop_is_beyond_the_limit(images, lost, passes, strictly):
    for limits, verdict in ((Limits(), passes), (Limits(strict=True), strictly)):
        found = compare(*answers(images, lost), "int8", limits)[1]
        assert found["accuracy"]["passed"] == verdict, found["accuracy"]["detail"]


@pytest.mark.parametrize(
    ("images", "lost", "won", "passes", "strictly"),
    [
        (1000, 10, 9, True, True),
        (1000, 25, 25, True, False),  # .974 of the 975 that the model answers rightly
        (1000, 30, 30, False, False),  # .969, though nothing is lost
    ],
)
def test_file_fails_where_the_whole_interval_of_the_agreement_is_below_the_limit(images, lost, won, passes, strictly):
    for limits, verdict in ((Limits(), passes), (Limits(strict=True), strictly)):
        found = compare(*answers(images, lost, won), "int8", limits)[1]
        assert found["agreement"]["passed"] == verdict, found["agreement"]["detail"]
        assert found["accuracy"]["passed"]


@pytest.mark.parametrize("scheme", [name for name, row in SCHEMES.items() if row.training])
def test_a_file_that_trained_on_need_not_err_where_the_model_does(scheme):
    """Of 1,000 images it loses 30 and wins 30; what it is worth says the accuracy."""
    figures, found = compare(*answers(1000, 30, 30), scheme)
    assert (figures["agreement"], "agreement" in found, found["accuracy"]["passed"]) == (0.94, False, True)
    assert not compare(*answers(1000, 60, 30), scheme)[1]["accuracy"]["passed"]


def test_limits_are_those_that_were_asked_for():
    for limits, verdict in ((Limits(), False), (Limits(max_drop=30, min_agreement=0.7), True)):
        found = compare(*answers(1000, lost=250), "int8", limits)[1]
        assert (found["accuracy"]["passed"], found["agreement"]["passed"]) == (verdict, verdict)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_drop": -1}, r"max_drop=-1 was given; it must be a number in \[0, 100\]"),
        ({"max_drop": float("nan")}, "max_drop=nan was given"),
        ({"min_agreement": 98}, r"min_agreement=98 was given; it must be a number in \[0, 1\]"),
    ],
)
def test_limits_that_mean_nothing_are_refused(limits, message):
    with pytest.raises(RequestError, match=message):
        Limits(**limits)


def test_fewer_than_500_images_are_called_weak():
    for images, weak in ((499, True), (500, False)):
        figures, found = compare(*answers(images), "fp32")
        assert figures["weak"] == weak
        assert ("weak" in found["accuracy"]["detail"]) == weak


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (10, 10), (353, 360), (9455, 10000), (1, 2)])
def test_wilson_interval_is_scipys(hits, trials):
    theirs = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    assert wilson(hits, trials) == pytest.approx((theirs.low, theirs.high))
    assert may_be_chance(hits, trials, classes=10) == (theirs.low <= 0.1)


@pytest.mark.parametrize(("images", "lost", "won"), [(360, 0.02, 0.01), (500, 0.01, 0.01), (2000, 0.03, 0.005)])
def test_drop_interval_holds_the_true_drop_95_times_of_100(images, lost, won):
    draws = np.random.default_rng(0).multinomial(images, (lost, won, 1 - lost - won), size=2000)
    inside = [low <= lost - won <= high for low, high in (drop_interval(*draw[:2], images) for draw in draws)]
    assert 0.93 <= np.mean(inside) <= 0.98


# Files from elsewhere


def flip_bytes(content, random):
    """One to seven bytes changed, mostly in the first part, where the structure is."""
    damaged = bytearray(content)
    for _ in range(random.integers(1, 8)):
        end = len(damaged) // 4 if random.random() < 0.7 else len(damaged)
        damaged[random.integers(end)] = random.integers(256)
    return bytes(damaged)


def spoil_structure(content, random):
    """A valid flatbuffer in which one field lies: an index, a shape, a type, a buffer, an operator."""
    model = unpack(content)
    graph = model.subgraphs[0]

    def any_of(things):
        return things[random.integers(len(things))]

    wild = int(any_of([-(2**31), -1, 0, 1, 7, 100, 2**15, 2**31 - 1]))
    tensor_number = int(random.integers(-1, len(graph.tensors))) if random.random() < 0.7 else wild
    operator, tensor, buffer = any_of(graph.operators), any_of(graph.tensors), any_of(model.buffers)
    match random.integers(9):
        case 0:
            operator.inputs = np.array(operator.inputs)
            operator.inputs[random.integers(len(operator.inputs))] = tensor_number
        case 1:
            operator.outputs = np.array([tensor_number])
        case 2:
            shape = [1] if tensor.shape is None or not len(tensor.shape) else list(tensor.shape)
            shape[random.integers(len(shape))] = wild
            tensor.shape = np.array(shape)
        case 3:
            tensor.type = int(random.integers(20))
        case 4:
            tensor.buffer = abs(wild) if random.random() < 0.3 else int(random.integers(len(model.buffers)))
        case 5:
            operator.opcodeIndex = abs(wild)
        case 6:
            graph.inputs = np.array([random.integers(len(graph.tensors))])
        case 7:
            any_of(model.operatorCodes).builtinCode = int(random.integers(210))
        case 8:
            buffer.data = None if buffer.data is None else buffer.data[: random.integers(len(buffer.data) + 1)]
    return pack(model)


def survive(content, mutate, count, write, child):
    """Checks `count` mutations of a file; the deaths among them."""
    random, deaths = np.random.default_rng(0), 0
    for _ in range(count):
        path = write(mutate(content, random), "int8")
        start = time.monotonic()
        found = check(path, child=child)
        assert time.monotonic() - start < 10
        deaths += "died of" in found.failures.get("opens", "")
    return deaths


@pytest.mark.parametrize(("mutate", "deaths"), [(flip_bytes, 0), (spoil_structure, 1)])
def test_hostile_file_is_a_finding_and_never_ends_the_parent(mutate, deaths, float_files, calibration, write, child):
    content = quantize(float_files["dense"], "int8", calibration)
    assert survive(content, mutate, 20, write, child) >= deaths


@pytest.mark.slow
@pytest.mark.parametrize(("mutate", "deaths"), [(flip_bytes, 0), (spoil_structure, 5)])
def test_two_hundred_hostile_files_never_end_the_parent(mutate, deaths, float_files, calibration, write, child):
    content = quantize(float_files["dense"], "int8", calibration)
    assert survive(content, mutate, 200, write, child) >= deaths


def test_child_that_died_is_replaced_and_the_next_file_is_good(float_files, expected, test_images, write, child):
    model = unpack(float_files["dense"])
    graph = model.subgraphs[0]
    graph.inputs = np.array(
        [number for number, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].data is not None][:1]
    )
    bad = check(write(pack(model)), child=child)
    assert "died of SIG" in bad.failures["opens"]
    assert check(write(float_files["dense"]), expected["dense"], *test_images, child=child).passed


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"\x00" * 64, b"\x1c\x00\x00\x00TFL3" + b"\xff" * 64, b"PK\x03\x04 zip"]
)
def test_what_is_no_tflite_file_does_not_open(content, write, child):
    assert set(check(write(content), child=child).failures) == {"opens"}


def test_file_that_never_ends_is_ended(write):
    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 3))])
    def forever(x):
        return tf.while_loop(lambda x: tf.reduce_sum(x * x) > -1.0, lambda x: (tf.sin(x),), (x,))[0]

    path = write(tf.lite.TFLiteConverter.from_concrete_functions([forever.get_concrete_function()]).convert())
    with Child(seconds=1) as child:
        found = check(path, child=child)
    assert found.failures["opens"] == "the process that opened it gave no answer within 1 s"


def test_file_that_wants_more_memory_than_allowed_does_not_get_it(write):
    @tf.function(input_signature=[tf.TensorSpec((1, 1, 1, 3))])
    def huge(x):
        return tf.reduce_max(tf.broadcast_to(x, (1, 12000, 12000, 3)), axis=(1, 2))  # 1.6 GiB

    path = write(tf.lite.TFLiteConverter.from_concrete_functions([huge.get_concrete_function()]).convert())
    with Child(memory=1 << 30) as child:
        assert set(check(path, child=child).failures) == {"opens"}


def test_child_killed_between_two_questions_is_reported_and_replaced(float_files, write):
    path = write(float_files["dense"])
    with Child() as child:
        child.read(path)
        child._process.kill()
        with pytest.raises(Fault, match="died of SIGKILL"):
            child.read(path)
        assert len(child.read(path)) == 1


def test_progress_is_told_while_images_run(float_files, test_images, write):
    seen = []
    with Child() as child:
        child.run(write(float_files["dense"]), test_images[0], progress=lambda done, total: seen.append((done, total)))
    assert seen and all(0 < done <= total == 600 for done, total in seen)


def test_a_flip_between_two_wrong_answers_is_reported_and_not_judged():
    outputs, expected, labels = answers(1000)
    outputs[:300], labels[:300] = (0.1, 0.9), 2  # wrong before, wrong behind
    figures, gates = compare(outputs, expected, labels, "int8")
    assert (figures["agreement"], figures["agreement_right"]) == (0.7, 1.0)
    assert gates["agreement"]["passed"] and gates["agreement"]["proved"]


@pytest.mark.parametrize(("images", "lost", "proved"), [(10_000, 20, True), (100, 1, False)])
def test_a_gate_says_whether_so_many_images_prove_it(images, lost, proved):
    gates = compare(*answers(images, lost), "int8")[1]
    for gate in (gates["accuracy"], gates["agreement"]):
        assert gate["passed"] and gate["proved"] == proved == ("not proved" not in gate["detail"])
        assert ("would_prove" in gate) != proved


@pytest.mark.parametrize(("images", "lost"), [(100, 0), (200, 1)])
def test_so_many_images_as_are_said_to_prove_it_do_and_one_fewer_does_not(images, lost):
    gates, share = compare(*answers(images, lost), "int8")[1], lost / images
    proves = {
        "accuracy": lambda n: 100 * drop_interval(n * share, 0, n)[1] <= Limits.max_drop,
        "agreement": lambda n: wilson((1 - share) * n, n)[0] >= Limits.min_agreement,
    }
    for name, proved in proves.items():
        needed = gates[name]["would_prove"]
        assert [proved(needed - 1), proved(needed)] == [False, True]


def test_no_number_of_images_is_said_to_prove_a_loss_that_is_measured_at_the_limit():
    found, gates = compare(*answers(200, 2), "int8")
    assert gates["accuracy"]["passed"] and gates["accuracy"]["would_prove"] is None
    assert "would prove" not in unproved(found | {"gates": gates})


def test_one_number_is_judged_at_a_half_and_numbers_without_classes_by_parity_alone():
    labels = np.arange(100) % 2
    expected = np.where(labels, 0.8, 0.3)[:, None]
    figures, gates = compare(expected - 0.2, expected, labels, "int8")
    assert figures["accuracy"] == 1.0 and gates["accuracy"]["passed"]
    figures, gates = compare(expected - 0.4, expected, labels, "int8")  # .4 and -.1: all are the first class
    assert figures["accuracy"] == 0.5 and not gates["accuracy"]["passed"]
    _, gates = compare(100 * expected - 1, 100 * expected, None, "fp32", classes=False)
    assert set(gates) == {"finite", "parity"} and not gates["parity"]["passed"]


def test_numbers_that_hardly_differ_from_image_to_image_may_be_rounded_as_float32_is():
    """A year, a price, a temperature in kelvin: the span is small beside the numbers, and float32 has seven digits."""
    expected = (2_000 + np.linspace(-0.05, 0.05, 100))[:, None]
    for error, passes in ((3e-3, True), (3e-2, False)):
        gates = compare(expected + error, expected, None, "fp32", classes=False)[1]
        assert gates["parity"]["passed"] == passes

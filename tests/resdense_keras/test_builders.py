"""Laws of every builder: sizes, names, arguments, gradients, and nets that Keras alone can load."""

import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest

import resdense_keras
from resdense_keras import catalog
from resdense_keras.densenets import CIFAR_DENSENETS, DENSENETS, DIGITS_DENSENETS
from resdense_keras.resnets import CIFAR_RESNETS, DIGITS_RESNETS, RESNETS

ROWS = {**RESNETS, **CIFAR_RESNETS, **DIGITS_RESNETS, **DENSENETS, **CIFAR_DENSENETS, **DIGITS_DENSENETS}

# trainable and total parameters: published for the ImageNet nets, counted from the papers' tables for the others
SIZES = {
    "resnet18": (11_689_512, 11_699_112),
    "resnet34": (21_797_672, 21_814_696),
    "resnet50": (25_557_032, 25_610_152),
    "resnet101": (44_549_160, 44_654_504),
    "resnet152": (60_192_808, 60_344_232),
    "resnet18_v2": (11_687_720, 11_695_528),
    "resnet34_v2": (21_795_880, 21_811_112),
    "resnet50_v2": (25_549_352, 25_594_792),
    "resnet101_v2": (44_541_480, 44_639_144),
    "resnet152_v2": (60_185_128, 60_328_872),
    "resnet200_v2": (64_666_152, 64_834_472),
    "resnet20": (269_722, 271_098),
    "resnet32": (464_154, 466_426),
    "resnet44": (658_586, 661_754),
    "resnet56": (853_018, 857_082),
    "resnet110": (1_727_962, 1_736_058),
    "resnet1202": (19_421_274, 19_510_906),
    "resnet164_v2": (1_703_258, 1_727_482),
    "resnet1001_v2": (10_327_706, 10_476_922),
    "densenet121": (7_978_856, 8_062_504),
    "densenet169": (14_149_480, 14_307_880),
    "densenet201": (20_013_928, 20_242_984),
    "densenet161": (28_681_000, 28_900_936),
    "densenet264": (33_337_704, 33_736_232),
    "densenet40_12": (1_019_722, 1_037_818),
    "densenet100_12": (6_979_642, 7_096_858),
    "densenet_bc100_12": (769_162, 793_150),
    "densenet_bc250_24": (15_324_406, 15_582_382),
    "densenet_bc190_40": (25_624_430, 25_881_390),
}
OPTION_SIZES = [
    ("resnet50", {"variant": "v1", "conv_bias": True}, 25_583_592, 25_636_712),
    ("resnet101", {"variant": "v1", "conv_bias": True}, 44_601_832, 44_707_176),
    ("resnet152", {"variant": "v1", "conv_bias": True}, 60_268_520, 60_419_944),
    ("resnet50", {"variant": "v2-keras"}, 25_568_360, 25_613_800),
    ("resnet101", {"variant": "v2-keras"}, 44_577_896, 44_675_560),
    ("resnet152", {"variant": "v2-keras"}, 60_236_904, 60_380_648),
    ("resnet20", {"shortcut": "B"}, 272_474, 274_042),
    ("resnet56", {"shortcut": "B"}, 855_770, 860_026),
    ("resnet110", {"shortcut": "B"}, 1_730_714, 1_739_002),
    ("densenet264", {"growth_rate": 48}, 72_686_632, 73_284_424),
    ("densenet100_12", {"growth_rate": 24}, 27_249_082, 27_480_346),
    ("densenet_bc40_12", {"growth_rate": 36}, 1_542_682, 1_557_946),
    ("densenet_bc40_12", {"growth_rate": 48}, 2_733_130, 2_753_482),
    ("densenet_bc40_12", {"growth_rate": 60}, 4_261_690, 4_287_130),
]
QUICK = {"resnet18", "resnet50", "resnet50_v2", "resnet20", "resnet110", "densenet121", "densenet_bc100_12"}
SMALL = {
    "v1": lambda **options: resdense_keras.cifar_resnet(depth=8, variant="v1", **options),
    "v1.5": lambda **options: resdense_keras.cifar_resnet(
        depth=11, variant="v1.5", block="bottleneck", shortcut="B", **options
    ),
    "v2": lambda **options: resdense_keras.cifar_resnet(depth=8, variant="v2", **options),
    "v2-keras": lambda **options: resdense_keras.cifar_resnet(
        depth=11, variant="v2-keras", block="bottleneck", shortcut="B", **options
    ),
    "vd": lambda **options: resdense_keras.resnet(blocks=(1, 1), block="basic", variant="vd", width=8, **options),
    "plain": lambda **options: resdense_keras.cifar_resnet(depth=8, shortcut=None, **options),
    "dense": lambda **options: resdense_keras.cifar_densenet(depth=10, growth_rate=4, **options),
    "dense-plain": lambda **options: resdense_keras.cifar_densenet(
        depth=10, growth_rate=4, bottleneck=False, compression=1, **options
    ),
    "dense-imagenet": lambda **options: resdense_keras.densenet(blocks=(2, 2), growth_rate=4, **options),
    "dense-recompute": lambda **options: resdense_keras.cifar_densenet(
        depth=10, growth_rate=4, recompute=True, **options
    ),
}
BASES = (resdense_keras.resnet, resdense_keras.cifar_resnet, resdense_keras.densenet, resdense_keras.cifar_densenet)


def sizes(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights), model.count_params()


@pytest.mark.parametrize("name", SIZES)
def test_parameters_equal_the_published_counts(name):
    """In the catalogue's table, which test_catalog.py recounts; the quick ones also here."""
    row = catalog.sizes()[name]
    assert (row["trainable"], row["parameters"]) == SIZES[name]
    if name in QUICK:
        assert sizes(resdense_keras.create(name)) == SIZES[name]


@pytest.mark.parametrize(
    "name, options, trainable, total",
    [row if row[0] in ("resnet50", "resnet20") else pytest.param(*row, marks=pytest.mark.slow) for row in OPTION_SIZES],
)
def test_parameters_of_options_equal_the_published_counts(name, options, trainable, total):
    assert sizes(resdense_keras.create(name, **options)) == (trainable, total)


def test_a_bare_call_builds_densenet121():
    model = resdense_keras.densenet121()
    assert (model.name, model.input_shape, model.output_shape) == ("densenet121", (None, 224, 224, 3), (None, 1000))


def test_every_row_of_the_tables_is_a_function_of_its_name():
    assert set(resdense_keras.list_models()) == set(ROWS)
    assert [name for name in ROWS if getattr(resdense_keras, name).__name__ != name] == []


def test_list_models_takes_a_pattern():
    assert resdense_keras.list_models("densenet1*") == ["densenet121", "densenet169", "densenet161", "densenet100_12"]


@pytest.mark.parametrize(
    "base, name",
    [
        (resdense_keras.resnet, "resnet50_vd"),
        (resdense_keras.cifar_resnet, "resnet164_v2"),
        (resdense_keras.densenet, "densenet161"),
        (resdense_keras.cifar_densenet, "densenet40_12"),
    ],
)
def test_the_signature_is_the_base_builders_with_the_rows_defaults(base, name):
    shown = inspect.signature(getattr(resdense_keras, name)).parameters
    structure = {"blocks", "block", "depth"}
    assert list(shown) == [key for key in inspect.signature(base).parameters if key not in structure]
    assert shown["name"].default == name
    assert {key: shown[key].default for key in ROWS[name] if key not in structure} == {
        key: value for key, value in ROWS[name].items() if key not in structure
    }


@pytest.mark.parametrize(
    "base, cifar",
    [(resdense_keras.resnet, resdense_keras.cifar_resnet), (resdense_keras.densenet, resdense_keras.cifar_densenet)],
)
def test_a_cifar_builder_has_the_arguments_of_its_base_and_depth_for_blocks(base, cifar):
    spelled, shown = (inspect.signature(builder).parameters for builder in (base, cifar))
    assert list(shown) == ["depth", *(name for name in spelled if name != "blocks")]
    assert all(shown[name].annotation == spelled[name].annotation for name in spelled if name != "blocks")
    assert (shown["classes"].default, shown["stem"].default) == (10, "cifar")
    with pytest.raises(resdense_keras.RequestError, match=f"{cifar.__name__}\\(\\) has no argument 'dept'") as error:
        cifar(dept=40)
    assert error.value.hint == "did you mean `depth`?"


@pytest.mark.parametrize("net", SMALL)
def test_layer_names_are_stable_and_unique(net):
    first, second = ([layer.name for layer in SMALL[net]().layers] for _ in range(2))
    ours = [name for name in first if name.split("_")[0] in ("stem", "head") or name.startswith("stage")]
    assert len(set(first)) == len(first)
    assert ours == [name for name in second if name in set(ours)]
    assert sum(name.startswith("stage") for name in first) > 0


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("net", SMALL)
def test_every_trainable_weight_gets_a_finite_gradient(net, policy):
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        model = SMALL[net](input_shape=(32, 32, 3))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    images = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    with tf.GradientTape() as tape:
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(np.arange(8), model(images, training=True)))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    bad = [
        weight.path
        for weight, gradient in zip(model.trainable_weights, gradients, strict=True)
        if gradient is None or not np.isfinite(gradient).all()
    ]
    assert bad == []


@pytest.mark.parametrize("net", SMALL)
def test_inference_leaves_the_moving_statistics_alone(net):
    model = SMALL[net]()
    before = model.get_weights()
    model(np.ones((2, *model.input_shape[1:]), "float32"))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


LOAD_WITHOUT_THE_PACKAGE = """
import sys
sys.modules["resdense_keras"] = None  # an import of it would raise
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[2], model(np.load(sys.argv[3])))
"""


def test_a_saved_net_loads_with_keras_alone_and_answers_the_same(tmp_path):
    """All plain layouts in one .keras file each, read by one fresh process."""
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    inputs = keras.Input((32, 32, 3))
    nets = [
        build(name=f"net{number}", input_shape=(32, 32, 3), include_preprocessing=True)
        for number, (net, build) in enumerate(SMALL.items())
        if net != "dense-recompute"
    ]
    model = keras.Model(
        inputs, keras.ops.stack([net(inputs) if net.output_shape[-1] == 10 else net(inputs)[:, :10] for net in nets])
    )
    model.save(tmp_path / "nets.keras")
    arguments = [str(tmp_path / name) for name in ("nets.keras", "answers.npy", "images.npy")]
    subprocess.run([sys.executable, "-c", LOAD_WITHOUT_THE_PACKAGE, *arguments], check=True, timeout=300)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), model(images), atol=1e-6)


def test_option_a_is_exactly_subsampling_with_zero_channels_half_on_each_side():
    inputs = keras.Input((6, 6, 4))
    shortcut = keras.Model(inputs, resdense_keras.blocks.changed_shortcut(inputs, 8, 2, "A", name="x"))
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")
    answer = np.asarray(shortcut(images))
    np.testing.assert_array_equal(answer[..., 2:6], images[:, ::2, ::2])
    assert not answer[..., :2].any() and not answer[..., 6:].any() and shortcut.count_params() == 0


def test_zero_gamma_makes_every_block_the_identity():
    net = resdense_keras.cifar_resnet(depth=8, zero_gamma=True, shortcut="A")
    last = [layer for layer in net.layers if layer.name.endswith("_bn2")]
    assert len(last) == 3 and not any(layer.gamma.numpy().any() for layer in last)


def test_a_dense_layer_adds_its_growth_rate():
    inputs = keras.Input((8, 8, 10))
    norm = resdense_keras.builder.normalization(0.9, 1e-5)
    assert resdense_keras.blocks.dense_layer(inputs, 6, norm=norm, name="x").shape == (None, 8, 8, 16)
    assert resdense_keras.blocks.dense_block(inputs, 3, 6, norm=norm, name="y").shape == (None, 8, 8, 28)


def test_the_plain_net_has_the_residual_nets_parameters():
    assert sizes(resdense_keras.plain20()) == sizes(resdense_keras.resnet20())


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("net", ["v1", "v2", "vd", "dense", "dense-imagenet"])
def test_any_size_and_channel_count_runs(net, channels):
    model = SMALL[net](input_shape=(None, None, channels), classes=7)
    smallest = 8 if net in ("vd", "dense-imagenet") else 4
    for size in (smallest, 2 * smallest + 3):
        assert model(np.zeros((1, size, size + 1, channels), "float32")).shape == (1, 7)


@pytest.mark.parametrize("net", ["v1", "dense"])
def test_without_the_head_come_features(net):
    channels = SMALL[net](include_top=False).output_shape[-1]
    assert SMALL[net](include_top=False).output_shape == (None, 8, 8, channels)
    assert SMALL[net](include_top=False, pooling="avg").output_shape == (None, channels)
    assert SMALL[net](include_top=False, pooling="max").output_shape == (None, channels)


def test_a_net_is_built_on_an_input_tensor():
    images = keras.Input((32, 32, 3), name="mine")
    model = resdense_keras.cifar_resnet(depth=8, input_tensor=images * 2.0)
    assert model.inputs[0] is images


@pytest.mark.parametrize("name", ["imagenet", "imagenet-caffe", "imagenet-tf", "cifar10"])
def test_the_layer_and_the_function_normalize_alike(name):
    inputs = keras.Input((4, 4, 3))
    layer = keras.Model(inputs, resdense_keras.preprocessing.PREPROCESSING[name].apply(inputs))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype("float32")
    np.testing.assert_allclose(layer(pixels), resdense_keras.preprocess_input(pixels, name), rtol=1e-5, atol=1e-4)


def test_measured_preprocessing_gives_mean_zero_and_deviation_one():
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    normalized = resdense_keras.preprocessing.measured(images)(images)
    np.testing.assert_allclose(normalized.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(normalized.std((0, 1, 2)), 1, atol=1e-3)


@pytest.mark.parametrize("mode, name", [("caffe", "imagenet-caffe"), ("torch", "imagenet"), ("tf", "imagenet-tf")])
def test_preprocessing_equals_keras_applications(mode, name):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype("float32")
    theirs = keras.src.applications.imagenet_utils.preprocess_input(pixels.copy(), mode=mode)
    np.testing.assert_allclose(resdense_keras.preprocess_input(pixels, name), theirs, atol=1e-4)


WRONG = [
    (lambda: resdense_keras.create("resnet5O"), "unknown model 'resnet5O'", "resnet50"),
    (
        lambda: resdense_keras.densenet121(growthrate=12),
        "densenet121() has no argument 'growthrate'",
        "did you mean `growth_rate`?",
    ),
    (lambda: resdense_keras.resnet50(blocks=(1, 1)), "resnet50() has no argument 'blocks'", ""),
    (
        lambda: resdense_keras.densenet(growth_rate=0),
        "growth_rate=0 was given; it must be an integer of 1 or more",
        "build a ResNet",
    ),
    (lambda: resdense_keras.densenet(compression=0), "compression=0 was given; it must be a number in (0, 1]", ""),
    (lambda: resdense_keras.densenet(blocks=()), "blocks=() was given", ""),
    (lambda: resdense_keras.densenet(blocks=(6, 0)), "an entry of blocks=0 was given", ""),
    (
        lambda: resdense_keras.cifar_resnet(depth=21),
        'depth=21 was given; with block="basic" it must be 6n + 2',
        "depth=20 is near",
    ),
    (
        lambda: resdense_keras.cifar_densenet(depth=41),
        "depth=41 was given; with bottleneck=True it must be 6n + 4",
        "depth=40 is near",
    ),
    (lambda: resdense_keras.resnet50(variant="v3"), "variant='v3' was given; allowed: None, 'v1', 'v1.5'", ""),
    (lambda: resdense_keras.resnet50(shortcut="C"), "shortcut='C' was given; allowed: 'A', 'B', None", ""),
    (
        lambda: resdense_keras.resnet50(variant="v2", conv_bias=True),
        "conv_bias=True was given with variant='v2'",
        "v2-keras",
    ),
    (lambda: resdense_keras.plain20(zero_gamma=True), "zero_gamma=True was given", ""),
    (
        lambda: resdense_keras.resnet50(input_shape=(16, 16, 3)),
        "height=16 was given; it must be an integer of 32 or more",
        "strides",
    ),
    (lambda: resdense_keras.resnet50(input_shape=(64, 64)), "input_shape=(64, 64) was given", ""),
    (lambda: resdense_keras.resnet50(classes=0), "classes=0 was given", ""),
    (lambda: resdense_keras.resnet50(pooling="mean"), "pooling='mean' was given; allowed: None, 'avg', 'max'", ""),
    (lambda: resdense_keras.resnet50(dropout=1.0), "dropout=1.0 was given", ""),
    (lambda: resdense_keras.resnet50(classifier_activation="sofmax"), "classifier_activation='sofmax' was given", ""),
    (
        lambda: resdense_keras.resnet50(input_shape=(64, 64, 1), include_preprocessing=True),
        "record has 3 channels, the input 1",
        "measured",
    ),
    (
        lambda: resdense_keras.preprocess_input(np.zeros((1, 1, 3)), "imagnet"),
        "unknown preprocessing 'imagnet'",
        "imagenet",
    ),
]


@pytest.mark.parametrize("call, message, hint", WRONG)
def test_a_wrong_argument_is_named_with_what_is_allowed(call, message, hint):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in caught.value.message
    assert hint in (caught.value.hint or "") + caught.value.message


def test_every_net_has_its_family():
    assert [catalog.family(name) for name in ("plain20", "densenet121", "resnet18", "x")] == [
        "plain",
        "densenet",
        "resnet",
        "other",
    ]

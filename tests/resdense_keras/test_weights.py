"""load_weights(): other people's files give their nets' answers, and a file that does not fit changes nothing."""

import os
import re
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import resdense_keras
from resdense_keras import RequestError, load_weights

TOLERANCE = 1e-4  # of the largest output; float32 sums in another order give 1e-6
IMAGE = (64, 64, 3)
CHECKPOINT_MEAN_STD = {
    "akamaster": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "dice": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}


def filled(model, seed=0):
    """`model` with random weights and batch norm statistics that neither blow up nor die out."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        kind = weight.path.rpartition("/")[2]
        if kind == "kernel":
            value = random.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape)
        elif kind == "moving_variance":
            value = random.uniform(2, 4, weight.shape)
        else:
            value = random.normal(1 if kind == "gamma" else 0, 0.1, weight.shape)
        weight.assign(value)
    return model


def answer(model):
    images = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:])).astype("float32")
    return keras.ops.convert_to_numpy(model(images))


def difference(model, expected):
    return np.abs(answer(model) - expected).max() / np.abs(expected).max()


def values(model):
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def assert_equal_weights(model, other):
    for weight, mine, theirs in zip(model.weights, values(model), values(other), strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=weight.path)


def named_tensors(model):
    """{"layer/variable": array}, this package's own names."""
    paths = ("/".join(weight.path.split("/")[-2:]) for weight in model.weights)
    return dict(zip(paths, values(model), strict=True))


def torch_tensors(model):
    """The weights of a CIFAR ResNet under akamaster's names and in PyTorch's layout, written out independently."""
    kinds = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    tensors = {}
    for key, array in named_tensors(model).items():
        layer, kind = key.split("/")
        layer = {"stem_conv": "conv1", "stem_bn": "bn1", "predictions": "linear"}.get(layer, layer)
        layer = re.sub(r"stage(\d)_block(\d)_", lambda m: f"layer{m[1]}.{int(m[2]) - 1}.", layer)
        layer = layer.replace("shortcut_conv", "shortcut.0").replace("shortcut_bn", "shortcut.1")
        if kind == "kernel":
            kind, array = "weight", np.moveaxis(array, (-1, -2), (0, 1))
        if kind == "moving_mean":
            tensors[f"{layer}.num_batches_tracked"] = np.array(7)
        tensors[f"{layer}.{kinds.get(kind, kind)}"] = np.ascontiguousarray(array)
    return tensors


def save_legacy(model, path):
    """`path` in the layout of keras.applications' files: a group a layer, no model around it."""
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def save_without_layer_names(model, path):
    """`path` as Keras before 3.9 wrote it: the layers of each class are only counted."""
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        file.visititems(lambda name, item: item.attrs.pop("name", None) and None)


def save_with_older_names(legacy, path):
    """`path` as the published files are: conv1/conv and fc1000, a colon and a number, scopes that Keras made unique."""
    older = {"predictions": "fc1000"}
    with h5py.File(legacy) as new, h5py.File(path, "w") as old:
        if "pool2_bn" in new:  # a DenseNet
            older |= {"conv1_conv": "conv1/conv", "conv1_bn": "conv1/bn"}

        def rename(name, item):
            if isinstance(item, h5py.Dataset):
                layer, _, variable = name.split("/")
                layer = older.get(layer, layer)
                old[f"{layer}/{layer}{'' if '/' in layer else '_1'}/{variable}:0"] = item[()]

        new.visititems(rename)


def small_net(**options):
    return resdense_keras.cifar_resnet(**{"depth": 8, "shortcut": "B", **options})


@pytest.fixture(scope="module")
def source():
    """A trained-looking small net, projections in it, and its answer."""
    model = filled(small_net())
    return model, answer(model)


# keras.applications

V1 = {"variant": "v1", "conv_bias": True, "bn_epsilon": 1.001e-5}
V2 = {"variant": "v2-keras", "bn_epsilon": 1.001e-5}
DENSE = {"bn_epsilon": 1.001e-5}
ORIGINALS = [
    ("ResNet50", "resnet50", V1),
    pytest.param("DenseNet121", "densenet121", DENSE, marks=pytest.mark.slow),
    pytest.param("ResNet50V2", "resnet50", V2, marks=pytest.mark.slow),
    # The deeper ones' outputs are compared by test_from_keras_applications too, from one format.
    *(
        pytest.param(*row, marks=pytest.mark.long)
        for row in [
            ("ResNet101", "resnet101", V1),
            ("ResNet152", "resnet152", V1),
            ("ResNet101V2", "resnet101", V2),
            ("ResNet152V2", "resnet152", V2),
            ("DenseNet169", "densenet169", DENSE),
            ("DenseNet201", "densenet201", DENSE),
        ]
    ),
]


@pytest.mark.parametrize(("original", "ours", "options"), ORIGINALS)
def test_keras_applications_files_give_the_same_outputs(original, ours, options, tmp_path):
    build = getattr(keras.applications, original)
    theirs = filled(build(weights=None, input_shape=IMAGE, classes=7, classifier_activation=None))
    expected = answer(theirs)
    theirs.save_weights(tmp_path / "net.weights.h5")
    save_legacy(theirs, tmp_path / "net.h5")
    save_without_layer_names(theirs, tmp_path / "counted.weights.h5")
    save_with_older_names(tmp_path / "net.h5", tmp_path / "older.h5")
    model = resdense_keras.create(ours, input_shape=IMAGE, classes=7, classifier_activation=None, **options)
    load_weights(model, tmp_path / "net.weights.h5")
    assert difference(model, expected) < TOLERANCE
    right = values(model)
    for file in ("net.h5", "counted.weights.h5", "older.h5"):
        model.set_weights([np.zeros_like(value) for value in right])
        load_weights(model, tmp_path / file)
        for value, same in zip(values(model), right, strict=True):
            np.testing.assert_array_equal(value, same, err_msg=file)


FIRST = "ResNet50V2 or DenseNet121"  # one of each family


@pytest.mark.parametrize(
    ("selected", "count"),
    [
        pytest.param(FIRST, 2, marks=pytest.mark.slow),
        pytest.param(f"not ({FIRST})", len(ORIGINALS) - 2, marks=pytest.mark.long),
    ],
    ids=["one of each family", "the others"],
)
def test_keras_applications_files_give_the_same_outputs_on_jax(selected, count):
    """Original and ours on JAX, in a process of its own; XLA's optimizations would take longer than these nets."""
    pytest.importorskip("jax")
    tests = f"{__file__}::test_keras_applications_files_give_the_same_outputs"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "", "-k", selected, tests],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and f"{count} passed" in result.stdout, result.stdout


def test_a_file_without_head_fills_a_net_without_head_and_one_with_its_own(tmp_path):
    bare = filled(small_net(include_top=False))
    save_legacy(bare, tmp_path / "notop.h5")
    other = load_weights(small_net(include_top=False), tmp_path / "notop.h5")
    assert_equal_weights(other, bare)
    full = small_net(classes=3)
    head = values(full.get_layer("predictions"))
    load_weights(full, tmp_path / "notop.h5", head="skip")
    np.testing.assert_array_equal(values(full)[0], values(bare)[0])
    np.testing.assert_array_equal(values(full.get_layer("predictions"))[0], head[0])


# Formats


def write(model, path):
    """`model`'s weights as the file that the suffix of `path` asks for."""
    name = path.name
    if name.endswith(".weights.h5"):
        model.save_weights(path)
    elif name == "bare.h5":
        save_legacy(model, path)
    elif name.endswith((".h5", ".keras")):
        model.save(path)
    elif name.startswith("torch"):
        tensors = {f"module.{key}": array for key, array in torch_tensors(model).items()}
        if name.endswith(".npz"):
            np.savez(path, **tensors)
        else:
            save_file(tensors, path)
    else:
        if name.endswith(".npz"):
            np.savez(path, **named_tensors(model))
        else:
            save_file(named_tensors(model), path)


FILES = "net.weights.h5 bare.h5 net.h5 net.keras torch.npz torch.safetensors ours.npz ours.safetensors"


@pytest.mark.parametrize("file", FILES.split())
def test_every_format_brings_every_weight_to_its_place(file, source, tmp_path):
    write(source[0], tmp_path / file)
    model = small_net()
    assert load_weights(model, str(tmp_path / file)) is model
    assert_equal_weights(model, source[0])


def test_what_training_left_in_a_file_is_passed_over(tmp_path):
    options = {"depth": 10, "growth_rate": 4, "dropout": 0.1}
    trained = resdense_keras.cifar_densenet(**options)
    sgd = keras.optimizers.SGD(0.1, momentum=0.9)
    # Eagerly: one step is sooner made than traced.
    trained.compile(sgd, "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    trained.train_on_batch(np.ones((2, 32, 32, 3), "float32"), np.zeros(2))
    for file in ("net.keras", "net.h5"):
        trained.save(tmp_path / file)
        assert_equal_weights(load_weights(resdense_keras.cifar_densenet(**options), tmp_path / file), trained)


@pytest.mark.parametrize("file", ["net.weights.h5", "net.h5", "net.keras"])
@pytest.mark.parametrize("recompute", [True, False])
def test_recomputing_and_plain_dense_nets_take_each_others_files(recompute, file, tmp_path):
    options = {"depth": 10, "growth_rate": 4}
    saved = filled(resdense_keras.cifar_densenet(recompute=recompute, **options))
    if "weights" in file:
        saved.save_weights(tmp_path / file)
    else:
        saved.save(tmp_path / file)
    model = resdense_keras.cifar_densenet(recompute=not recompute, **options)
    load_weights(model, tmp_path / file)
    assert difference(model, answer(saved)) < TOLERANCE


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_floating_point_types_are_converted(dtype, source, tmp_path):
    from ml_dtypes import bfloat16  # a dependency of Keras

    wanted = bfloat16 if dtype == "bfloat16" else dtype
    tensors = {key: array.astype(wanted) for key, array in named_tensors(source[0]).items()}
    save_file(tensors, tmp_path / "net.safetensors")
    model = small_net()
    load_weights(model, tmp_path / "net.safetensors")
    for key, array in named_tensors(model).items():
        np.testing.assert_array_equal(array, tensors[key].astype("float32"))


def test_a_builder_takes_a_path(source, tmp_path):
    write(source[0], tmp_path / "torch.npz")
    assert_equal_weights(small_net(weights=tmp_path / "torch.npz"), source[0])


# What does not fit


def refused(model, path, **options):
    """The message, after checking that the model has kept its weights."""
    before = values(model)
    with pytest.raises(RequestError) as caught:
        load_weights(model, path, **options)
    for now, old in zip(values(model), before, strict=True):
        np.testing.assert_array_equal(now, old)
    return str(caught.value)


def test_both_sides_of_a_misfit_are_listed_with_shapes(source, tmp_path):
    tensors = torch_tensors(source[0])
    tensors["extra.weight"] = np.zeros((2, 3), "float32")
    del tensors["layer1.0.bn1.bias"]
    tensors["conv1.weight"] = np.zeros((16, 3, 5, 5), "float32")
    np.savez(tmp_path / "net.npz", **tensors)
    assert refused(small_net(name="net"), tmp_path / "net.npz") == (
        f"cannot load {tmp_path}/net.npz: it does not fit net: "
        "1 without a place in the model: 'extra.weight' (2, 3); "
        "1 without a tensor in the file: stage1_block1_bn1/beta (16,); "
        "1 of another shape: stem_conv/kernel is (3, 3, 3, 16), 'conv1.weight' gives (5, 5, 3, 16) "
        "(hint: build the net that the file was made from)"
    )


def test_a_long_list_of_misfits_is_counted(source, tmp_path):
    write(source[0], tmp_path / "torch.npz")
    message = refused(small_net(depth=14), tmp_path / "torch.npz")
    assert "30 without a tensor in the file: stage1_block2_conv1/kernel (3, 3, 16, 16), " in message
    assert "and 26 more" in message


def test_a_tensor_that_is_there_twice_is_refused(source, tmp_path):
    tensors = torch_tensors(source[0])
    np.savez(tmp_path / "net.npz", **tensors, **{"module.conv1.weight": tensors["conv1.weight"]})
    assert "1 without a place in the model: 'module.conv1.weight' (16, 3, 3, 3) (twice)" in refused(
        small_net(), tmp_path / "net.npz"
    )


def test_other_classes_are_an_error_that_offers_to_skip_the_head(source, tmp_path):
    write(source[0], tmp_path / "torch.npz")
    model = small_net(classes=3)
    message = refused(model, tmp_path / "torch.npz")
    assert "predictions/kernel is (64, 3), 'module.linear.weight' gives (64, 10)" in message
    assert message.endswith("(hint: only the head differs: pass head='skip' to leave the model's own)")
    head = values(model.get_layer("predictions"))
    load_weights(model, tmp_path / "torch.npz", head="skip")
    np.testing.assert_array_equal(values(model)[0], values(source[0])[0])
    np.testing.assert_array_equal(values(model.get_layer("predictions"))[0], head[0])


@pytest.mark.parametrize(
    ("saved", "built", "wanted"),
    [
        ({"variant": "v2"}, {}, "variant='v2'"),
        ({}, {"variant": "v2"}, "variant='v1' or 'v1.5', conv_bias=False, shortcut='B'"),
        ({"conv_bias": True}, {}, "conv_bias=True"),
        ({"variant": "v2-keras"}, {"variant": "v2"}, "variant='v2-keras'"),
        ({"variant": "vd", "stem": None}, {"stem": "imagenet"}, "variant='vd' or 'v1' or 'v1.5', stem='deep'"),
        ({"stem": "deep"}, {"stem": "imagenet"}, "variant='vd' or 'v1' or 'v1.5', stem='deep'"),
        ({"stem": "imagenet"}, {"stem": "deep"}, "variant='v1' or 'v1.5', stem='imagenet' or 'cifar'"),
        ({"shortcut": "A"}, {}, "shortcut='A' or None"),
    ],
)
def test_a_misfit_names_the_variant_that_would_fit(saved, built, wanted, tmp_path):
    small_net(**saved).save_weights(tmp_path / "net.weights.h5")
    message = refused(small_net(**built), tmp_path / "net.weights.h5")
    assert message.endswith(f"(hint: the file holds the weights of a ResNet with {wanted}: build that one)")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda array: np.full_like(array, np.nan), "16 of its values are not finite"),
        (lambda array: np.full(array.shape, 1e300), "its values are too large for float32"),
        (lambda array: -array, "a variance is negative"),
        (lambda array: array.astype("int32"), "its type is int32, a weight is a floating-point number"),
    ],
    ids=["nan", "overflow", "negative", "integer"],
)
@pytest.mark.parametrize("file", ["net.npz", "net.safetensors", "net.h5"])
def test_one_bad_tensor_refuses_the_whole_file(spoil, reason, file, source, tmp_path):
    tensors = named_tensors(source[0])
    tensors["stem_bn/moving_variance"] = spoil(tensors["stem_bn/moving_variance"])
    if file == "net.npz":
        np.savez(tmp_path / file, **tensors)
    elif file == "net.safetensors":
        save_file(tensors, tmp_path / file)
    else:
        with h5py.File(tmp_path / file, "w") as h5:
            for key, array in tensors.items():
                h5[key] = array
    start = f"cannot load {tmp_path / file}: tensor 'stem_bn/moving_variance': {reason} (hint: "
    assert refused(small_net(), tmp_path / file).startswith(start)


def test_weights_with_one_name_are_refused():
    inner = small_net(name="first"), small_net(name="second")
    inputs = keras.Input((32, 32, 3))
    both = keras.Model(inputs, [net(inputs) for net in inner])
    assert "has two weights called 'stem_conv/kernel'" in refused(both, "any.npz")


def test_unknown_head_options_are_refused():
    assert "head='keep' was given; allowed: None, 'skip'" in refused(small_net(), "any.npz", head="keep")


# Published accuracy


@pytest.mark.parametrize(
    ("file", "net", "origin", "accuracy"),
    [
        pytest.param("resnet20-cifar10.npz", "resnet20", "akamaster", 0.9173, marks=pytest.mark.slow),
        pytest.param("resnet56-cifar10.npz", "resnet56", "akamaster", 0.9339, marks=pytest.mark.long),
        pytest.param("densenet_bc_100_12-cifar10.npz", "densenet_bc100_12", "dice", 0.9453, marks=pytest.mark.long),
    ],
)
def test_published_checkpoints_reach_their_accuracy(file, net, origin, accuracy, checkpoints, cifar10_file):
    mean, std = CHECKPOINT_MEAN_STD[origin]
    record = resdense_keras.Preprocessing(tuple(255 * m for m in mean), tuple(255 * s for s in std))
    model = resdense_keras.create(net, weights=checkpoints / file, include_preprocessing=record)
    with np.load(cifar10_file) as data:
        images, labels = data["x_test"].astype("float32"), data["y_test"].ravel()
    found = model.predict(images, batch_size=250, verbose=0).argmax(axis=1)
    assert np.mean(found == labels) == pytest.approx(accuracy, abs=0.0002)


def test_other_classes_keep_the_trained_features_and_say_that_the_head_is_new():
    import resdense_keras

    trained = resdense_keras.resnet20(weights="cifar10")
    with pytest.warns(UserWarning, match="have 10 classes, 5 were asked for"):
        other = resdense_keras.resnet20(weights="cifar10", classes=5)
    loaded = resdense_keras.load_weights(resdense_keras.resnet20(classes=7), "cifar10", head="skip")
    assert other.output_shape == (None, 5)
    for net in (other, loaded):
        np.testing.assert_array_equal(net.get_layer("stem_conv").kernel, trained.get_layer("stem_conv").kernel)


def test_a_list_is_the_tuple_that_it_stands_for():
    import resdense_keras

    assert resdense_keras.create("resnet20_digits", weights="digits", input_shape=[8, 8, 1]).input_shape == (
        None,
        8,
        8,
        1,
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_fine_tuned_net_s_features_load_whatever_its_head_is_called(inside, suffix, tmp_path):
    import keras

    import resdense_keras

    base = resdense_keras.resnet20(include_top=False, pooling="avg", input_shape=(32, 32, 3))
    image = keras.Input((32, 32, 3))
    features = base(image) if inside else base.output
    x = keras.layers.BatchNormalization(name="mine")(keras.layers.Dense(6, name="hidden")(features))
    tuned = keras.Model(image if inside else base.input, keras.layers.Dense(3, name="answer")(x))
    path = tmp_path / f"tuned{suffix}"
    (tuned.save_weights if suffix == ".weights.h5" else tuned.save)(path)
    net = resdense_keras.load_weights(resdense_keras.resnet20(classes=4), path, head="skip")
    for layer in ("stem_conv", "stage3_block3_conv2"):
        np.testing.assert_array_equal(net.get_layer(layer).kernel, base.get_layer(layer).kernel)

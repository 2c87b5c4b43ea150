"""Training that knows what a file will lose: the worker's results, and what is refused before it starts."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

import resdense_keras
from resdense_export import pipeline
from resdense_export.bundle import contents
from resdense_export.making import aware
from resdense_export.making.aware.worker import is_constant, sparsities, without_softmax
from resdense_export.nets.reading import read
from resdense_export.nets.rewriting import GRAPHS, apply
from resdense_keras import data
from resdense_keras.errors import RequestError, WorkError
from resdense_keras.training import TrainingRequest, recipe

NETS = ("resnet20_digits", "densenet_bc28_6_digits")
SLOWLY = [
    pytest.param("densenet_bc28_6_digits", marks=pytest.mark.slow),
    pytest.param("resnet20_digits", marks=pytest.mark.long),
]
FEW = {"images": 1_280, "rounds": 2}  # ten steps


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def nodes_of(name, graph="trained-int8"):
    model = resdense_keras.create(name, weights="digits", include_preprocessing=True)
    return apply(read(model), GRAPHS[graph])


@pytest.mark.parametrize("graph", ["trained-int8", "trained"])
@pytest.mark.parametrize("name", NETS)
def test_training_on_knows_every_kind_of_node_of_both_families(name, graph):
    aware.check_known(nodes_of(name, graph))


@pytest.mark.parametrize("name", SLOWLY)
def test_trained_nodes_differ_in_their_weights_alone(name, digits):
    nodes = nodes_of(name)
    trained = aware.train_aware(nodes, "quantization", digits, **FEW)
    for before, after in zip(nodes, trained, strict=True):
        assert replace(after, weights=before.weights).__dict__ == before.__dict__
        assert {k: np.shape(v) for k, v in after.weights.items()} == {k: np.shape(v) for k, v in before.weights.items()}
        assert all(np.isfinite(array).all() for array in after.weights.values())


@pytest.mark.parametrize("name", SLOWLY)
def test_pruning_leaves_half_of_the_weights(name, digits):
    trained = aware.train_aware(nodes_of(name, "trained"), "pruning", digits, **FEW)
    kernels = [node for node in trained if node.kind in ("Conv2D", "Dense") and not is_constant(node)]
    assert len(kernels) > 10
    zeros = {node.name: (node.weights["kernel"] == 0).mean() for node in kernels}
    sizes = {node.name: node.weights["kernel"].size for node in kernels}
    assert sum(zeros[key] * sizes[key] for key in sizes) / sum(sizes.values()) == pytest.approx(0.5, abs=0.02)
    untrained = {node.name: node for node in nodes_of(name, "trained")}
    expected = sparsities({node.name: untrained[node.name].weights["kernel"] for node in kernels}, 0.5)
    assert zeros == pytest.approx(expected, abs=0.02)


@pytest.mark.long
def test_the_net_teaches_and_not_the_labels(digits):
    """In training, and where the best weights are chosen. And the same seed gives the same weights, to the bit."""
    nodes, splits = nodes_of("resnet20_digits", "trained"), (digits.train, digits.validation)
    train, validation = (replace(split, labels=np.zeros_like(split.labels)) for split in splits)
    unlabelled = replace(digits, train=train, validation=validation)
    few = FEW | {"rounds": 4}  # of which two are sparse enough to be chosen
    found = [aware.train_aware(nodes, "pruning", dataset, **few) for dataset in (digits, unlabelled)]
    for one, other in zip(*found, strict=True):
        for key, array in one.weights.items():
            np.testing.assert_array_equal(array, other.weights[key])


@pytest.mark.slow
def test_training_on_sees_images_as_the_nets_own_training_did(digits):
    """The worker gives other weights for another augmentation, and takes each that a recipe may have."""
    nodes, few = nodes_of("resnet20_digits", "trained-int8"), {"images": 256, "rounds": 1}
    found = []
    for augment in (("reflect", "randaugment"), ("crop", "mixup")):
        run = TrainingRequest(model="resnet20_digits", recipe=recipe("fast", augment=augment))
        trained = aware.train_aware(nodes, "quantization", digits, run=run, learning_rate=1e-5, **few)
        found.append(np.concatenate([node.weights["kernel"].ravel() for node in trained if "kernel" in node.weights]))
    assert not np.array_equal(found[0], found[1])


def test_a_kernel_has_more_to_spare_where_few_weights_carry_it():
    random = np.random.default_rng(0)
    kernels = {
        "early": random.normal(size=(3, 3, 8, 8)),
        "late": random.normal(size=(1, 1, 64, 32)),
        "peaked": random.normal(size=(3, 3, 16, 16)) ** 5,
        "zero": np.zeros((8, 8)),
    }
    found = sparsities(kernels, 0.5)
    sizes = {name: kernel.size for name, kernel in kernels.items()}
    assert sum(found[name] * sizes[name] for name in found) == pytest.approx(sum(sizes.values()) / 2, abs=1)
    assert found["peaked"] > found["late"] > found["early"] > 0  # a larger kernel's weight is a smaller part of it
    scaled = kernels | {"early": 1000 * kernels["early"]}
    assert sparsities(scaled, 0.5) == pytest.approx(found)


@pytest.mark.long
def test_export_makes_files_of_trained_weights(digits, tmp_path, monkeypatch):
    """The files pass the same gates as others; the zeros show in the size after zip."""
    for name, method in aware.METHODS.items():
        monkeypatch.setitem(aware.METHODS, name, replace(method, images=12_800))
    model = resdense_keras.densenet_bc28_6_digits(weights="digits", include_preprocessing=True)
    report = pipeline.export(model, tmp_path / "bundle", ["fp32", "int8", "qat", "pruned"], dataset=digits)
    files = {export["scheme"]: export for export in report["models"][0]["exports"]}
    assert set(files) == {"fp32", "int8", "qat", "pruned"}
    assert files["qat"]["accuracy"] >= files["int8"]["accuracy"] - 2 / 364  # two images of the test split
    assert files["qat"]["gates"]["int8"]["passed"]
    assert files["pruned"]["zipped_bytes"] < 0.75 * files["pruned"]["bytes"]


@pytest.mark.slow
def test_a_worker_that_fails_is_one_error(digits):
    with pytest.raises(WorkError, match="aware training failed") as error:
        aware.train_aware(nodes_of("resnet20_digits"), "quantization", digits, learning_rate=1e30, **FEW)
    assert "not finite" in str(error.value) and "Traceback" not in str(error.value)


@pytest.mark.slow
def test_a_worker_that_meets_a_bad_image_names_it(digits, tmp_path):
    (tmp_path / "empty.png").touch()
    paths = (tmp_path / "empty.png",) * len(digits.validation)
    spoiled = replace(digits, validation=replace(digits.validation, images=None, paths=paths))
    with pytest.raises(WorkError, match=f"WorkError: {paths[0]}: is not an image of a kind that is read here"):
        aware.train_aware(nodes_of("resnet20_digits"), "quantization", spoiled, **FEW)


def test_an_unknown_method_is_refused(digits):
    with pytest.raises(RequestError, match="unknown method of aware training 'prune'"):
        aware.train_aware([], "prune", digits)


def test_an_operation_that_the_toolkit_lacks_is_named(digits):
    inputs = keras.Input((8, 8, 1))
    nodes = read(keras.Model(inputs, keras.layers.UpSampling2D(name="odd")(inputs)))
    with pytest.raises(RequestError, match=r"layer 'odd' is UpSampling2D: .* know Input, "):
        aware.train_aware(nodes, "pruning", digits)


@pytest.mark.parametrize("scheme", ["qat", "pruned"])
def test_a_grouped_convolution_is_refused_by_name_before_the_first_file(scheme, digits, tmp_path, monkeypatch):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, groups=4, name="four")(keras.layers.Conv2D(8, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)))
    monkeypatch.setattr(contents, "float_files", lambda model: pytest.fail("a file was made"))
    with pytest.raises(RequestError, match="layer 'four' has 4 groups"):
        pipeline.export(model, tmp_path / "bundle", ["fp32", scheme], dataset=digits)
    assert not list(tmp_path.iterdir())


def test_an_operation_that_the_toolkit_lacks_is_known_before_the_first_file(digits, tmp_path, monkeypatch):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.UpSampling2D(name="odd")(inputs))
    monkeypatch.setattr(contents, "float_files", lambda model: pytest.fail("a file was made"))
    with pytest.raises(RequestError, match="layer 'odd' is UpSampling2D"):
        model = keras.Model(inputs, keras.layers.Dense(10)(x))
        pipeline.export(model, tmp_path / "bundle", ["fp32", "qat"], dataset=digits)


def test_a_softmax_layer_is_known():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Softmax(name="softmax")])
    nodes = read(model)
    aware.check_known(nodes)
    assert [node.name for node in without_softmax(nodes)] == [nodes[0].name, nodes[1].name, "softmax_output"]


def test_the_toolkit_stays_out_of_this_process():
    program = (
        "import sys; import resdense_export.making.aware, resdense_export.nets.rewriting; "
        "print([name for name in ('tensorflow_model_optimization', 'tf_keras') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300).stdout
    assert output.strip() == "[]"


@pytest.mark.parametrize("scheme", ["qat", "pruned"])
def test_schemes_that_train_need_data(scheme, tmp_path):
    model = resdense_keras.plain20_digits(weights="digits", include_preprocessing=True)
    with pytest.raises(RequestError, match=f"scheme {scheme} needs images to train on"):
        pipeline.export(model, tmp_path / "bundle", [scheme])

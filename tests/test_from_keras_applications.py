"""docs/from-keras-applications.md is true: its code runs, its calls give the same net, its names the same layers.

Nothing is downloaded. The published files are stood in for by files of the same names and layout with random weights,
whose checksums take the published ones' place.
"""

import ast
import dataclasses
import hashlib
import inspect
import json
import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

import resdense_keras
from resdense_keras.weights import download, table

PAGE = (Path(__file__).parents[1] / "docs" / "from-keras-applications.md").read_text()
TOLERANCE = 1e-4  # of the largest output
IMAGE = np.random.RandomState(0).standard_normal((1, 64, 64, 3)).astype("float32")
CLASS_INDEX = {str(number): [f"n{number:08d}", f"class {number}"] for number in range(1000)}


def rows(columns):
    """The rows of the page's tables with that many cells, all of them code."""
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|")
    return [
        tuple(cell.strip("`") for cell in row)
        for row in cells
        if len(row) == columns and all(re.fullmatch(r"`[^`]+`", cell) for cell in row)
    ]


CALLS = [row for row in rows(3) if row[0].startswith("keras.applications.")]
NAMES = [row for row in rows(3) if not row[0].startswith("keras.applications.")]


def evaluated(call, **options):
    """What a call of the page builds, e.g. `resnet50(variant="v1")`, with further options."""
    call = ast.parse(call, mode="eval").body
    return getattr(resdense_keras, call.func.id)(**options, **{a.arg: ast.literal_eval(a.value) for a in call.keywords})


def randomized(model, seed=0):
    """`model` with weights and batch norm statistics that no layer starts with; kernels keep their He scale."""
    random = np.random.RandomState(seed)
    for weight in model.weights:
        shape, name = weight.shape, weight.path.rpartition("/")[2]
        if name == "moving_variance":
            weight.assign(random.uniform(2, 4, shape))
        elif name == "kernel":
            weight.assign(random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1])))
        else:
            weight.assign((name == "gamma") + 0.1 * random.standard_normal(shape))
    return model


def difference(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    return np.abs(found - expected).max() / np.abs(expected).max()


def save_as_published(model, path):
    """The layout of keras.applications' own files, older than .weights.h5."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """{include_top: path} of the files that stand in for DenseNet121's; this package finds them in its cache."""
    net = randomized(keras.applications.DenseNet121(weights=None))
    row = table.find("densenet121", "imagenet")
    cache = tmp_path / "home" / "weights"
    cache.mkdir(parents=True)
    files = {True: cache / Path(row.file).name, False: cache / Path(row.notop_file).name}
    save_as_published(net, files[True])
    save_as_published(keras.Model(net.input, net.get_layer("relu").output), files[False])
    labels = cache / download.CLASS_INDEX
    labels.write_text(json.dumps(CLASS_INDEX))

    stand_in = dataclasses.replace(row, md5=md5(files[True]), notop_md5=md5(files[False]))
    monkeypatch.setattr(table, "WEIGHTS", tuple(stand_in if other == row else other for other in table.WEIGHTS))
    monkeypatch.setattr(download, "CLASS_INDEX_MD5", md5(labels))
    monkeypatch.setattr(keras.src.applications.imagenet_utils, "CLASS_INDEX", CLASS_INDEX)
    monkeypatch.setenv("RESDENSE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return files


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def code_of_the_page(stand_ins):
    """All code of the page in order; what keras.applications would download is the path of its stand-in."""
    lines = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.S)).splitlines()
    for number, line in enumerate(lines):
        if "keras.applications" in line:
            path = stand_ins["include_top=False" not in line]
            lines[number] = line.replace('weights="imagenet"', f"weights={str(path)!r}")
    return "\n".join(lines)


@pytest.mark.slow
def test_the_code_of_the_page_runs_and_old_and_new_agree(stand_ins):
    page = {}
    exec(code_of_the_page(stand_ins), page)
    for answer in ("new", "from_pixels"):
        assert difference(page[answer], page["old"]) < TOLERANCE
    assert [[label[:2] for label in row] for row in page["new_labels"]] == [
        [label[:2] for label in row] for row in page["old_labels"]
    ]
    mine, net = page["mine"], page["other"]
    assert (mine.output_shape, net.output_shape) == ((None, 10), (None, 5))
    for layer in ("stem_conv", "head_bn"):
        np.testing.assert_array_equal(mine.get_layer(layer).get_weights()[0], net.get_layer(layer).get_weights()[0])
    for old, new in zip(page["old_features"](IMAGE), page["new_features"](IMAGE).values(), strict=True):
        assert difference(new, old) < TOLERANCE


@pytest.mark.parametrize("old, published, own", CALLS)
def test_the_published_weights_set_the_arguments_of_the_third_column(old, published, own):
    published, own = (ast.parse(call, mode="eval").body for call in (published, own))
    arguments = {argument.arg: ast.literal_eval(argument.value) for argument in own.keywords}
    assert table.find(published.func.id, "imagenet").arguments == arguments
    assert own.func.id == published.func.id


def test_the_page_lists_every_net_with_published_weights():
    assert {own.partition("(")[0] for _, _, own in CALLS} == {row.model for row in table.WEIGHTS}


@pytest.mark.parametrize(
    "old, own",
    [
        pytest.param(old, own, marks=pytest.mark.slow if "50" in old or "121" in old else pytest.mark.long)
        for old, _, own in CALLS
    ],
)
def test_both_calls_of_a_row_build_the_same_net(old, own, tmp_path):
    theirs = randomized(getattr(keras.applications, old.rpartition(".")[2])(weights=None, input_shape=IMAGE.shape[1:]))
    save_as_published(theirs, tmp_path / "theirs.h5")
    ours = evaluated(own, input_shape=IMAGE.shape[1:])
    resdense_keras.load_weights(ours, tmp_path / "theirs.h5")
    assert difference(ours(IMAGE), theirs(IMAGE)) < TOLERANCE
    assert ours.count_params() == theirs.count_params()


@pytest.mark.parametrize(
    "net", ["DenseNet121", *(pytest.param(net, marks=pytest.mark.slow) for net in ("ResNet50", "ResNet50V2"))]
)
def test_layers_have_the_names_and_the_batch_norms_the_numbers_of_the_page(net):
    """And the shapes, so that a name cannot point at a layer of another stage."""
    call = next(own for old, _, own in CALLS if old.endswith(f".{net}"))
    theirs = getattr(keras.applications, net)(weights=None)
    ours = evaluated(call)
    names = [(old, new) for named, old, new in NAMES if named == net]
    shapes = [(theirs.get_layer(old).output.shape, ours.get_layer(new).output.shape) for old, new in names]
    assert names and [old for old, _ in shapes] == [new for _, new in shapes]
    norms = [next(layer for layer in model.layers if layer.name.endswith("_bn")) for model in (theirs, ours)]
    assert [(norm.momentum, norm.epsilon) for norm in norms] == [(0.99, 1.001e-5), (0.9, 1.001e-5)]
    assert inspect.signature(resdense_keras.densenet).parameters["bn_epsilon"].default == 1e-5

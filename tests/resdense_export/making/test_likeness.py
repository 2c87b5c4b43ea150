"""Laws of likeness: images of one kind may calibrate for each other; noise and near copies of one image may not."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from resdense_export import pipeline
from resdense_export.making.likeness import LEAST_HELD_OUT, check_likeness, distance, roughness
from resdense_export.report.merging import merged
from resdense_export.report.schema import validate
from resdense_export.sources import generated_images
from resdense_keras import data
from resdense_keras.errors import RequestError


def drawings(count):
    """(count, 32, 32, 1) discs of one grey each on white."""
    random, (y, x) = np.random.default_rng(3), np.mgrid[:32, :32]
    images = np.full((count, 32, 32, 1), 255, np.uint8)
    for image in images:
        row, column, radius = random.integers(4, 28), random.integers(4, 28), random.integers(2, 9)
        image[(y - row) ** 2 + (x - column) ** 2 < radius**2] = random.integers(0, 200)
    return images


@pytest.fixture(scope="module")
def kinds(training_images):
    """{kind: 400 images}."""
    colours = training_images[0][:400]
    return {
        "digits": data.load("digits").train.array()[:400],
        "colours in noise": colours,
        "the same in grey": colours.mean(axis=-1, keepdims=True).astype(np.uint8),
        "drawings": drawings(400),
        "generated": generated_images((32, 40, 3), 400),
        "noise": noise((400, 20, 20, 3)),
    }


def noise(shape):
    return np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8)


def near_copies(image, count=20, deviation=2):
    varied = image + np.random.default_rng(5).normal(0, deviation, (count, *image.shape))
    return np.clip(varied, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("calibrating", [20, 100, 200])
@pytest.mark.parametrize("held_out", [LEAST_HELD_OUT, 200])
def test_images_of_one_kind_are_alike_however_many(calibrating, held_out, kinds):
    random = np.random.default_rng(6)
    for kind, images in kinds.items():
        order = random.permutation(len(images))
        assert check_likeness(images[order[:calibrating]], images[order[-held_out:]]) == [], kind


@pytest.mark.parametrize("kind", ["digits", "drawings", "generated"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images: noise(images.shape), "calibration images are noise"),
        (lambda images: np.random.default_rng(7).permuted(images, axis=2), "calibration images are"),
        (lambda images: near_copies(images[3]), "20 calibration images are near copies of one image"),
    ],
    ids=["noise", "rows in disorder", "near copies"],
)
def test_images_of_no_kind_are_told_with_the_reason(kind, spoil, message, kinds):
    images = kinds[kind]
    try:
        told = check_likeness(spoil(images[:200]), images[200:])
    except RequestError as error:
        told = [str(error)]
        assert "of one kind" in error.hint
    assert len(told) == 1 and message in told[0]


def test_noise_and_copies_may_calibrate_for_noise_and_copies(kinds):
    copies = near_copies(kinds["digits"][0], 400)
    assert check_likeness(copies[:200], copies[200:]) == []


@pytest.mark.parametrize("first", [95, 100, 105, 150])
def test_classes_of_alike_images_may_have_other_shares_than_in_the_test_images(first):
    """Two colours with noise; the share of pairs within a class passes one half as the shares change."""
    grain = noise((260, 40, 40, 3)) * 0.3
    calibrating, held_out = ([1] * first + [0] * (200 - first), [0, 1] * 30)
    colours = np.array([[20, 90, 160], [150, 60, 20]])[calibrating + held_out]
    images = (grain + colours[:, None, None]).astype(np.uint8)
    assert check_likeness(images[:200], images[200:]) == []


def test_images_between_copies_and_different_ones_are_warned_of(kinds):
    images = kinds["digits"]
    (told,) = check_likeness(near_copies(images[3], 40, deviation=10), images[200:])
    assert "40 calibration images are much alike" in told


def test_few_or_flat_held_out_images_judge_nothing(kinds):
    images = kinds["digits"]
    assert check_likeness(noise(images.shape), images[: LEAST_HELD_OUT - 1]) == []
    assert check_likeness(noise(images.shape), np.zeros((50, 8, 8, 1), np.uint8)) == []


def test_measures_have_the_ends_that_they_say(kinds):
    slope = np.arange(256, dtype=np.uint8)[None, :, None].repeat(256, axis=0)[None]
    assert roughness(slope) < 1e-3 and roughness(noise((1, 256, 256, 3))) == pytest.approx(1, abs=0.02)
    assert np.isnan(roughness(np.full((1, 8, 8, 1), 9, np.uint8)))
    for shape in ((5, 3, 3), (8, 8, 1), (300, 200, 3)):  # fewer pixels than cells, as many, and more
        pair = np.stack([np.full(shape, grey, np.uint8) for grey in (10, 250)])
        assert distance(pair) == pytest.approx(240)


def test_calibration_unlike_the_test_images_is_refused_before_anything_is_made(dataset, tmp_path):
    inputs = keras.Input(dataset.image_shape)
    net = keras.Model(inputs, keras.layers.Dense(6, activation="softmax")(keras.layers.Flatten()(inputs)))
    smooth = np.sort(dataset.test.images, axis=1)
    dataset = replace(dataset, test=replace(dataset.test, images=smooth))
    with pytest.raises(RequestError, match="calibration images are noise") as error:
        pipeline.export(net, tmp_path / "out", dataset=replace(dataset, train=with_images(dataset.train, noise)))
    assert error.value.hint and not list(tmp_path.iterdir())


def test_what_is_doubtful_stands_in_the_report_on_its_page_and_in_the_card(dataset, tmp_path):
    inputs = keras.Input(dataset.image_shape)
    net = keras.Model(inputs, keras.layers.Dense(6, activation="softmax")(keras.layers.Flatten()(inputs)), name="flat")
    alike = with_images(dataset.train, lambda shape: near_copies(dataset.train.images[0], shape[0], deviation=10))
    out = tmp_path / "out"
    report = pipeline.export(net, out, ["int8"], dataset=replace(dataset, train=alike), max_drop=100, min_agreement=0)
    (doubt,) = report["data"]["calibration_doubts"]
    assert "calibration images are much alike" in doubt
    assert f"Doubtful: {doubt}." in (out / "MODEL_CARD.md").read_text()
    assert f"Doubtful: {doubt}." in (out / "report.html").read_text()
    others = report | {"data": {key: value for key, value in report["data"].items() if key != "calibration_doubts"}}
    both, _ = merged([(tmp_path / "others", others), (out, report)])
    assert validate(both)["data"]["calibration_doubts"] == [doubt]


def with_images(split, made):
    return replace(split, images=made(split.images.shape))

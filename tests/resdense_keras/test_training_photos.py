"""Training on folders of photos: what a run keeps of them, what it refuses at once, and how much it holds."""

import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from resdense_keras import RequestError, WorkError, data, training
from resdense_keras.training import TrainingRequest, augmentation, exhaustion, starts

SMALL = {"width": 4, "input_shape": (8, 8, 3)}
pytestmark = pytest.mark.usefixtures("resnet8")


def fill(folder, count, seed=0):
    """`count` photos of 8 x 8 of each of two classes."""
    random = np.random.default_rng(seed)
    for name, level in (("dark", 0), ("light", 100)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(level, level + 150, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def run(folder, out, **more):
    recipe = training.recipe("fast", epochs=1, batch_size=4)  # all batches are whole: each size is a graph of its own
    options = {"options": SMALL, "jit": "off", **more}
    return training.train("resnet8", str(folder), out, recipe, **options)


def test_a_run_of_version_0_1_goes_on_with_the_splits_that_it_had(tmp_path):
    """Its config.yaml has no `resize`, and of train/ with val/ a share of train judged the epochs."""
    fill(tmp_path / "photos" / "train", 20)
    fill(tmp_path / "photos" / "val", 4, seed=1)
    said = []
    run(tmp_path / "photos", tmp_path / "run", resize=None)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config.pop("resize") is None
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "run" / "manifest.json").unlink()
    run(tmp_path / "photos", tmp_path / "run", resume=True, tell=said.append)
    assert "data: train train/ (36 images), validation 4 (a tenth held out of train), test val/ (8);" in said[0]
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(RequestError, match="resize is None there and 'stretch' here"):
        run(tmp_path / "photos", tmp_path / "run", resume=True, resize="stretch")


def test_a_run_keeps_how_photos_were_resized_and_says_what_it_understood(tmp_path):
    fill(tmp_path / "photos" / "train", 20)
    fill(tmp_path / "photos" / "val", 4, seed=1)
    said = []
    run(tmp_path / "photos", tmp_path / "run", resize="stretch", tell=said.append)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["resize"] == "stretch" and TrainingRequest.from_config(config).resize == "stretch"
    assert said[0].startswith(
        "data: train train/ (40 images), validation and test val/ (8; val/ also chose the epoch);"
    )
    with pytest.raises(RequestError, match="unknown way to resize 'squash'"):
        TrainingRequest(model="resnet20", resize="squash")


def test_a_net_of_one_channel_trains_on_three_photos_in_colour_of_each_class(tmp_path):
    fill(tmp_path / "photos", 3)
    history = run(tmp_path / "photos", tmp_path / "run", options={"width": 4, "input_shape": (8, 8, 1)})
    assert len(history) == 1
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    loaded = training.load_data(TrainingRequest.from_config(config))
    assert loaded.image_shape == (8, 8, 1)
    grey = np.asarray(Image.open(loaded.train.paths[0]).convert("L"))
    np.testing.assert_array_equal(loaded.train.array([0])[0, ..., 0], grey)


@pytest.mark.parametrize(
    ("model", "weights", "options", "parts"),
    [
        ("resnet50", "imagenet", {}, ["weights imagenet of resnet50 take RGB", "digits has grey"]),
        ("resnet20_digits", "digits", {"input_shape": (28, 28, 1)}, ["input_shape=(28, 28, 1)", "(8, 8, 1)"]),
    ],
)
def test_images_that_weights_or_options_do_not_fit_are_refused_before_anything_is_written(
    tmp_path, model, weights, options, parts
):
    with pytest.raises(RequestError) as caught:
        training.train(model, "digits", tmp_path / "run", weights=weights, options=options)
    assert all(part in caught.value.message for part in parts) and caught.value.hint
    assert not any(path.name == "config.yaml" for path in tmp_path.rglob("*"))


def test_arrays_of_another_size_than_the_weights_are_refused_with_both_sizes(tmp_path):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (60, 28, 28), dtype=np.uint8), np.arange(60) % 10
    np.savez(tmp_path / "mn.npz", x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
    with pytest.raises(RequestError, match="takes images of 8x8 in grey here, .*mn.npz has 28x28 in grey"):
        starts.build("resnet20_digits", data.load(tmp_path / "mn.npz"), source="digits")


def test_normalisation_of_a_folder_is_the_same_in_memory_and_in_files(tmp_path, monkeypatch):
    fill(tmp_path, 20)
    held = data.load(tmp_path)
    monkeypatch.setenv("RESDENSE_FREE_BYTES", "0")
    read = data.load(tmp_path)
    assert held.train.in_memory and not read.train.in_memory
    assert starts.pixels(held) == starts.pixels(read)


def test_exhausted_memory_halves_the_batch_down_to_one_image():
    tried = []

    def work(size):
        tried.append(size)
        if size > 4:
            raise tf.errors.ResourceExhaustedError(None, None, "no memory for a tensor")
        return size

    assert exhaustion.halving(work, 32) == 4 and tried == [32, 16, 8, 4]
    with pytest.raises(WorkError, match="does not hold the net and one image"):
        exhaustion.halving(lambda size: work(size + 4), 2)
    with pytest.raises(ZeroDivisionError):
        exhaustion.halving(lambda size: 1 / 0, 2)


def test_evaluation_takes_the_batch_of_the_training(monkeypatch):
    digits = data.load("digits")
    trainer = training.Training(
        starts.build("resnet20_digits", digits, {"width": 2}), digits, training.recipe("compare", batch_size=20)
    )
    sizes = []
    test = trainer.devices.test
    monkeypatch.setattr(trainer.devices, "test", lambda batch: sizes.append(len(batch[0])) or test(batch))
    trainer.evaluate(digits.validation)
    assert set(sizes[:-1]) == {20} and sum(sizes) == len(digits.validation)


def test_augmentation_is_said_as_it_is_done():
    digits = data.load("digits")
    assert augmentation.describe(training.recipe("fast"), digits) == "reflect"
    assert augmentation.describe(training.recipe("fast", augment=()), digits) == "none"

"""Specs become the same three disjoint splits every time; calibration images are training images."""

import subprocess
import sys

import numpy as np
import pytest

from resdense_keras import data
from resdense_keras.errors import RequestError


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_splits_are_disjoint_complete_and_stratified(seed):
    digits = data.load("digits", seed=seed)
    positions = np.concatenate([split.indices for split in digits.splits.values()])
    assert sorted(positions) == list(range(1797))
    whole = np.bincount(np.concatenate([split.labels for split in digits.splits.values()])) / 1797
    for split in digits.splits.values():
        share = np.bincount(split.labels) / len(split)
        assert np.abs(share - whole).max() < 0.01


def test_held_out_is_a_share_of_the_training_images_and_leaves_test_alone():
    usual, less = data.load("digits"), data.load("digits", held_out=0.02)
    np.testing.assert_array_equal(usual.test.indices, less.test.indices)
    assert len(less.validation) < len(usual.validation) / 3
    assert len(less.train) + len(less.validation) == len(usual.train) + len(usual.validation)


def test_splits_are_a_pure_function_of_spec_and_seed():
    first, again, other = (data.load("digits", seed=seed) for seed in (3, 3, 4))
    for name, split in first.splits.items():
        np.testing.assert_array_equal(split.indices, again.splits[name].indices)
        np.testing.assert_array_equal(split.images, again.splits[name].images)
        assert split.indices.tolist() != other.splits[name].indices.tolist()


def test_indices_are_positions_in_the_source():
    from sklearn.datasets import load_digits

    source, digits = load_digits(), data.load("digits")
    for split in digits.splits.values():
        np.testing.assert_array_equal(split.labels, source.target[split.indices])
        np.testing.assert_array_equal(split.images[..., 0], np.rint(source.images[split.indices] * 255 / 16))


@pytest.mark.parametrize("count", [1, 10, 200, 10_000])
def test_calibration_takes_training_images_in_proportion(count):
    digits = data.load("digits")
    indices, images = data.calibration(digits, count)
    assert len(indices) == len(set(indices)) == len(images) == min(count, len(digits.train))
    assert images.dtype == np.uint8
    assert set(indices) <= set(digits.train.indices)
    place = np.searchsorted(digits.train.indices, indices)
    np.testing.assert_array_equal(images, digits.train.images[place])
    shares = np.bincount(digits.train.labels[place], minlength=10) / len(indices)
    assert np.abs(shares - 0.1).max() < (0.02 if count >= 200 else 0.1 if count == 10 else 1)


def test_calibration_repeats_and_changes_with_the_seed():
    digits = data.load("digits")
    first, again, other = (data.calibration(digits, 50, seed)[0].tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        (
            "digit",
            "unknown data spec 'digit'; known: digits, fashion_mnist, cifar10, ",
            "did you mean `digits`?",
        ),
        ("absent.npz", "no file or folder 'absent.npz'", "check the path"),
        ("some/folder", "no file or folder 'some/folder'", "check the path"),
        (
            "photos",
            "no file or folder 'photos', and no data set of that name (digits, fashion_mnist, ",
            "check the path",
        ),
        ("photos.tar", "no file or folder 'photos.tar'", "check the path"),
    ],
)
def test_unknown_spec_is_refused_with_a_hint(spec, message, hint):
    with pytest.raises(RequestError) as caught:
        data.load(spec)
    assert caught.value.message.startswith(message) and hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "is_a", "hint"),
    [
        ("flowers.tar", "is an archive", "unpack it"),
        ("flowers.tar.gz", "is an archive", "unpack it"),
        ("flowers.ZIP", "is an archive", "unpack it"),
        ("rose.JPG", "is one image", "give the folder that holds the class folders"),
        ("labels.csv", "is no .npz file", "numpy.savez"),
        ("net.keras", "is no .npz file", "numpy.savez"),
    ],
)
def test_a_file_that_is_no_npz_is_told_by_its_kind(name, is_a, hint, tmp_path):
    (tmp_path / name).write_bytes(b"PK\x05\x06" + bytes(18) if name.endswith("ZIP") else b"something")
    with pytest.raises(RequestError) as caught:
        data.load(tmp_path / name)
    assert caught.value.message.startswith(f"{tmp_path / name} {is_a}; data are") and hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "message"), [("a.zip", "is an archive"), ("a.gz", "is an archive"), ("a.npz", "cannot be read as .npz")]
)
def test_a_damaged_archive_is_told_like_a_whole_one(name, message, tmp_path):
    np.savez(tmp_path / "whole.npz", x_train=np.zeros(3))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / name).write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03"))  # its directory, not its end
    with pytest.raises(RequestError, match=message):
        data.load(tmp_path / name)


def test_arrays_are_read_under_the_suffix_of_an_archive_too(tmp_path):
    arrays = {"x": np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8), "y": np.arange(40) % 2}
    np.savez(
        tmp_path / "a.npz", **{f"{name}_{part}": array for name, array in arrays.items() for part in ("train", "test")}
    )
    (tmp_path / "a.npz").rename(tmp_path / "a.zip")
    assert data.load(tmp_path / "a.zip").classes == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed=-1 was given; it must be 0 or more"),
        ({"image_size": 0}, "image_size=0 was given"),
        ({"image_size": 10_000}, "image_size=10000 was given"),
        ({"held_out": 0}, "held_out=0 was given; it must be above 0 and below 1"),
        ({"image_size": 32}, "digits has images of 8 x 8, 32 x 32 was asked for"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(RequestError, match=message):
        data.load("digits", **options)


def test_name_of_a_data_set_is_never_a_folder_and_the_home_folder_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("digits", "photos"):
        (tmp_path / name).mkdir()
    assert [data.is_folder(spec) for spec in ("digits", "./digits", "~/photos", "photos/none")] == [0, 1, 1, 0]
    assert data.load("digits").spec == "digits"


def test_size_that_the_images_have_may_be_said():
    assert data.load("digits", image_size=8).image_shape == (8, 8, 1)


def test_model_needs_an_output_for_every_label_and_may_have_more():
    digits = data.load("digits")
    digits.check_outputs(10)
    digits.check_outputs(1000)
    with pytest.raises(RequestError, match="digits has labels up to 9; a model of 8 outputs knows 0 to 7"):
        digits.check_outputs(8)


def test_loading_and_decoding_need_no_tensorflow():
    code = """
import sys
from resdense_keras import data
data.calibration(data.load("digits"))
sys.exit("tensorflow" in sys.modules and "TensorFlow was imported")
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("spec", ["", " "])
def test_an_empty_name_is_not_the_working_folder(spec):
    with pytest.raises(RequestError, match="is empty"):
        data.load(spec)


def test_an_address_is_not_called_a_missing_file():
    with pytest.raises(RequestError, match="is an address"):
        data.load("https://example.org/photos.zip")

"""Named data sets and .npz files: what is read, and what is refused before the pixels are."""

import re
import resource
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from resdense_keras import data
from resdense_keras.data import memory
from resdense_keras.errors import RequestError

RNG = np.random.default_rng(0)


def good_arrays(train=60, test=20, shape=(4, 5, 3)):
    return {
        "x_train": RNG.integers(0, 256, (train, *shape), dtype=np.uint8),
        "y_train": np.arange(train) % 3,
        "x_test": RNG.integers(0, 256, (test, *shape), dtype=np.uint8),
        "y_test": np.arange(test) % 3,
    }


def saved(folder, **changes):
    path = folder / "data.npz"
    arrays = {name: array for name, array in {**good_arrays(), **changes}.items() if array is not None}
    np.savez(path, **arrays)
    return path


def test_digits_are_scaled_to_bytes_and_give_a_fifth_to_test():
    digits = data.load("digits")
    assert digits.image_shape == (8, 8, 1) and digits.class_names == tuple("0123456789") and digits.classes == 10
    assert len(digits.test) >= 360
    assert sum(map(len, digits.splits.values())) == 1797
    assert (digits.train.images.min(), digits.train.images.max()) == (0, 255)
    assert digits.train.images.dtype == np.uint8


def test_npz_keeps_the_test_split_that_it_brings(tmp_path):
    arrays = good_arrays()
    np.savez(tmp_path / "data.npz", **arrays)
    loaded = data.load(tmp_path / "data.npz")
    assert loaded.image_shape == (4, 5, 3) and loaded.class_names is None and loaded.classes == 3
    np.testing.assert_array_equal(loaded.test.images, arrays["x_test"])
    np.testing.assert_array_equal(loaded.test.labels, arrays["y_test"])
    assert loaded.test.indices.tolist() == list(range(60, 80)), "test positions follow those of train"
    np.testing.assert_array_equal(loaded.train.images, arrays["x_train"][loaded.train.indices])
    assert 6 <= len(loaded.validation) <= 9


def test_npz_takes_grey_images_without_a_channel_axis_and_labels_in_a_column(tmp_path):
    x, y = RNG.integers(0, 256, (60, 4, 5), dtype=np.uint8), (np.arange(60) % 3).astype(np.uint8)[:, None]
    loaded = data.load(saved(tmp_path, x_train=x, x_test=x, y_train=y, y_test=y))
    assert loaded.image_shape == (4, 5, 1)
    assert loaded.test.labels.dtype == np.int64 and loaded.test.labels.shape == (60,)


NAN = np.full((60, 4, 5, 3), np.nan, np.float32)
WRONG = {
    "no y_test": ({"y_test": None}, "has no y_test"),
    "NaN": ({"x_train": NAN}, "x_train holds NaN or infinite pixels"),
    "float pixels": ({"x_test": np.zeros((20, 4, 5, 3), np.float32)}, "x_test is float32, pixels must be uint8"),
    "too few axes": ({"x_train": np.zeros((60, 20), np.uint8)}, r"x_train has the shape \(60, 20\)"),
    "channels first": ({"x_train": np.zeros((60, 3, 32, 32), np.uint8)}, r"x_train has the shape \(60, 3, 32, 32\)"),
    "other size in test": ({"x_test": np.zeros((20, 9, 5, 3), np.uint8)}, "4 x 5 x 3 in x_train and 9 x 5 x 3 in"),
    "empty test": ({"x_test": np.zeros((0, 4, 5, 3), np.uint8), "y_test": np.zeros(0, int)}, "it is empty"),
    "too few labels": ({"y_train": np.zeros(59, int)}, r"y_train has the shape \(59,\) for 60 images"),
    "one-hot labels": ({"y_train": np.eye(3)[np.arange(60) % 3]}, r"y_train has the shape \(60, 3\) for 60 images"),
    "float labels": ({"y_train": np.zeros(60)}, "y_train is float64, labels must be integers"),
    "negative label": ({"y_train": np.arange(60) % 3 - 1}, "labels from -1 to 1, allowed are 0 to 99,999"),
    "giant label": ({"y_train": np.arange(60) * 10**9}, "labels from 0 to 59000000000, allowed"),
    "one class": ({"y_train": np.zeros(60, int), "y_test": np.zeros(20, int)}, "has one class only: 0"),
    "class that train lacks": ({"y_test": np.full(20, 7)}, "test has classes that train lacks: 7"),
    "objects": ({"x_train": np.array([print, None])}, "x_train holds Python objects"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_npz_is_refused_with_the_reason(tmp_path, kind):
    changes, message = WRONG[kind]
    with pytest.raises(RequestError, match=message) as caught:
        data.load(saved(tmp_path, **changes))
    assert caught.value.hint


HINTS = {
    "0 to 1": ({"x_train": np.full((60, 4, 5, 3), 0.5)}, "x \\* 255"),
    "-1 to 1": ({"x_train": np.full((60, 4, 5, 3), -0.5)}, "127.5"),
    "0 to 255": ({"x_train": np.full((60, 4, 5, 3), 200.0, "float32")}, "save `x.astype"),
    "16 bits": ({"x_train": np.full((60, 4, 5, 3), 60000, "uint16")}, "257"),
    "channels first": ({"x_train": np.zeros((60, 3, 32, 32), np.uint8)}, "transpose\\(0, 2, 3, 1\\)"),
    "one-hot": ({"y_train": np.eye(3)[np.arange(60) % 3]}, "argmax"),
    "names": ({"y_train": np.array(["cat", "dog"] * 30)}, "unique"),
    "whole floats": ({"y_train": np.arange(60.0) % 3}, "int64"),
}


@pytest.mark.parametrize("kind", HINTS)
def test_the_hint_for_a_wrong_npz_is_the_line_that_mends_it(tmp_path, kind):
    changes, hint = HINTS[kind]
    with pytest.raises(RequestError) as caught:
        data.load(saved(tmp_path, **changes))
    assert re.search(hint, caught.value.hint)


def test_the_arrays_of_an_npz_with_other_names_are_listed(tmp_path):
    np.savez(tmp_path / "data.npz", train_images=[0], train_labels=[0])
    with pytest.raises(RequestError, match="it has train_images, train_labels"):
        data.load(tmp_path / "data.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_val": np.zeros(3), "class_names": np.array(["a"])}, "not read: x_val, class_names"),
        ({"y_train": np.arange(60) % 3 + 1, "y_test": np.ones(20, int)}, "label 0: .* 4 classes, 1 of them without"),
        ({"x_train": np.ones((60, 4, 5, 3), np.uint8)}, "no pixel of x_train is above 1"),
    ],
)
def test_what_an_npz_hardly_means_is_warned_of(tmp_path, changes, words):
    with pytest.warns(UserWarning, match=words):
        data.load(saved(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 and no more"])
def test_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(RequestError, match=r"cannot be read as \.npz"):
        data.load(tmp_path / "data.npz")


def test_damaged_npz_is_refused_or_harmless(tmp_path):
    """A flipped byte may hit the date of a member; what it may not do is to change an image unseen."""
    path = saved(tmp_path)
    good, refused = path.read_bytes(), 0
    expected = data.load(path).splits
    for position in range(100, len(good), len(good) // 40):
        damaged = bytearray(good)
        damaged[position] ^= 255
        (tmp_path / "damaged.npz").write_bytes(damaged)
        try:
            for name, split in data.load(tmp_path / "damaged.npz").splits.items():
                np.testing.assert_array_equal(split.images, expected[name].images)
                np.testing.assert_array_equal(split.labels, expected[name].labels)
        except RequestError:
            refused += 1
    assert refused > 30


def bomb(path):
    """A .npz of 0.3 MB whose x_train inflates to 256 MiB of zeros."""
    np.savez_compressed(path, **{**good_arrays(), "x_train": np.zeros((256, 1024, 1024), np.uint8)})
    return path


def test_npz_bomb_is_refused_before_it_inflates(tmp_path):
    path = bomb(tmp_path / "bomb.npz")
    assert path.stat().st_size < 0.3e6
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(RequestError, match=r"declares 268 MB in a file of 0\.3 MB"):
        data.load(path)
    assert time.perf_counter() - begin < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_npz_whose_header_promises_too_much_is_refused(tmp_path):
    path = saved(tmp_path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b"(60, 4, 5, 3), }      ", b"(60, 4, 5000, 5000), }"))
    with pytest.raises(RequestError, match=r"declares 6,000 MB in a file of 0\.0 MB"):
        data.load(path)


def test_npz_that_free_memory_does_not_allow_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "SHARE", 0)
    with pytest.raises(RequestError, match=r"holds 0\.0 GB, free memory allows 0\.0 GB"):
        data.load(saved(tmp_path))


def test_failed_download_is_a_work_error_with_a_way_out(tmp_path):
    code = f"""
import os
os.environ.update(KERAS_BACKEND="numpy", KERAS_HOME={str(tmp_path)!r}, https_proxy="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9")
from resdense_keras import data
from resdense_keras.errors import WorkError
try:
    data.load("fashion_mnist")
except WorkError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("fashion_mnist could not be downloaded: ")
    assert "pass a .npz with x_train, y_train, x_test, y_test" in done.stdout


def test_cifar10_file_loads_whole(cifar10_file):
    loaded = data.load(cifar10_file)
    assert [len(split) for split in loaded.splits.values()] == [45_000, 5_000, 10_000]
    assert loaded.image_shape == (32, 32, 3)


@pytest.mark.parametrize("spec", ["fashion_mnist", "cifar10", "cifar100"])
def test_named_data_sets_have_as_many_names_as_classes(spec):
    names = data.NAMED[spec].args[1]
    assert len(names) == len(set(names)) == (100 if spec == "cifar100" else 10)

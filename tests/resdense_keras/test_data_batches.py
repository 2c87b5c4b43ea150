"""Batches and augmentation are pure functions of (seed, epoch, index), wherever a run starts."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from resdense_keras import data
from resdense_keras.data.batches import _epoch
from resdense_keras.errors import WorkError

COUNT, BATCH = 23, 5  # the last batch of an epoch has 3 images
IMAGES = np.random.default_rng(0).integers(
    1, 256, (COUNT, 6, 7, 3), dtype=np.uint8
)  # no 0: that is what a shift leaves


@pytest.fixture(scope="module")
def split():
    return data.Split(labels=np.arange(COUNT), indices=np.arange(COUNT), image_shape=(6, 7, 3), images=IMAGES)


def batches(split, batch=BATCH, **options):
    """[(images, labels), ...]; labels are indices here."""
    return [(images.numpy(), labels.numpy()) for images, labels in data.pipeline(split, batch, **options)]


def by_index(split, batch, epoch, **options):
    """{index: image} of one epoch."""
    steps = -(-COUNT // batch)
    chosen = batches(split, batch, epochs=epoch + 1, first_step=epoch * steps, **options)
    return {index: image for images, labels in chosen for image, index in zip(images, labels, strict=True)}


def same(first, second):
    assert len(first) == len(second)
    for (images, labels), (other_images, other_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def test_each_epoch_holds_every_image_once_in_an_order_of_its_own(split):
    run = batches(split, epochs=3)
    assert [len(labels) for _, labels in run] == [5, 5, 5, 5, 3] * 3
    orders = [tuple(np.concatenate([labels for _, labels in run[begin : begin + 5]])) for begin in (0, 5, 10)]
    assert all(sorted(order) == list(range(COUNT)) for order in orders)
    assert len({*orders, tuple(range(COUNT))}) == 4


def test_batches_are_float_pixels_of_their_labels(split):
    for images, labels in batches(split):
        assert images.dtype == np.float32 and labels.dtype == np.int64
        np.testing.assert_array_equal(images, IMAGES[labels])


def test_without_shuffle_the_order_is_that_of_the_split(split):
    labels = np.concatenate([labels for _, labels in batches(split, shuffle=False, epochs=2)])
    assert labels.tolist() == [*range(COUNT)] * 2


def test_run_that_starts_at_any_step_sees_the_same_batches(split):
    options = {"seed": 3, "epochs": 3, "augment": data.shift_and_mirror(pad=2)}
    whole = batches(split, **options)
    for first in (0, 1, 5, 7, 14, 15, 17):  # in an epoch, at its end, in its last small batch, at the end and beyond
        same(batches(split, first_step=first, **options), whole[first:])


def test_no_autotuner_lets_whoever_stops_wait(split):
    """It sleeps for up to a minute, and TensorFlow waits for it: a training ended 56 s after Ctrl-C."""
    assert data.pipeline(split, 32).options().autotune.enabled is False


def test_length_is_known(split):
    for first, left in [(0, 15), (7, 8), (15, 0), (99, 0)]:
        assert data.pipeline(split, BATCH, epochs=3, first_step=first).cardinality() == left


def test_two_runs_are_equal_and_another_seed_is_not(split):
    augment = data.shift_and_mirror(pad=2)
    first, again, other = (batches(split, seed=seed, augment=augment) for seed in (1, 1, 2))
    same(first, again)
    assert any((images != others).any() for (images, _), (others, _) in zip(first, other, strict=True))


def test_augmentation_of_an_image_hangs_on_epoch_and_index_alone(split):
    augment = data.shift_and_mirror(pad=2)
    for epoch in (0, 2):
        expected = by_index(split, BATCH, epoch, augment=augment)
        for batch, shuffle in [(1, True), (7, True), (COUNT, True), (BATCH, False)]:
            found = by_index(split, batch, epoch, augment=augment, shuffle=shuffle)
            assert all((found[index] == expected[index]).all() for index in range(COUNT)), (batch, shuffle)


def test_each_epoch_augments_otherwise(split):
    epochs = [by_index(split, BATCH, epoch, augment=data.shift_and_mirror(pad=2)) for epoch in range(3)]
    for first, second in itertools.combinations(epochs, 2):
        changed = sum((first[index] != second[index]).any() for index in range(COUNT))
        assert changed > COUNT // 2


def shifted(image, down, right, mirror, reflect):
    """The definition, in NumPy: content moves by (-down, -right), what is left open is 0 or mirrored; the mirror."""
    pad = max(abs(down), abs(right))
    wide = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), "reflect" if reflect else "constant")
    cut = wide[pad + down : pad + down + image.shape[0], pad + right : pad + right + image.shape[1]]
    return cut[:, ::-1] if mirror else cut


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize(("traced", "reflect"), [(True, False), (False, False), (True, True)])
def test_augmented_images_are_shifts_and_mirrors_of_all_kinds(mirror, traced, reflect):
    """Called directly and inside tf.data, because the two differ."""
    pad, count = 1, 400
    image = IMAGES[0]
    kinds = {
        shifted(image, down, right, flip, reflect).tobytes(): (down, right, flip)
        for down, right in itertools.product((-1, 0, 1), repeat=2)
        for flip in ([False, True] if mirror else [False])
    }
    _, keys = _epoch(0, 0, count, shuffle=False)
    images = np.repeat(image[None], count, axis=0)
    augment = data.shift_and_mirror(pad=pad, mirror=mirror, reflect=reflect)
    if traced:
        pixels = next(iter(tf.data.Dataset.from_tensors((images, keys)).map(augment))).numpy()
    else:
        pixels = augment(tf.constant(images), keys).numpy()
    seen = [kinds[pixel.tobytes()] for pixel in pixels]
    frequency = count / len(kinds)
    counts = [seen.count(kind) for kind in kinds.values()]
    assert len(kinds) == (18 if mirror else 9)
    assert min(counts) > frequency / 3 and max(counts) < frequency * 2, "some kinds are too rare"


def test_keys_of_all_images_and_epochs_differ():
    keys = [tuple(key) for epoch in range(5) for key in _epoch(7, tf.constant(epoch, tf.int64), 200, True)[1].numpy()]
    assert len(set(keys)) == 1000


@pytest.fixture
def files(tmp_path, split):
    """The images of `split`, as files."""
    for number, image in enumerate(IMAGES):
        tf.io.write_file(str(tmp_path / f"{number}.png"), tf.io.encode_png(image))
    paths = tuple(tmp_path / f"{number}.png" for number in range(COUNT))
    return data.Split(labels=split.labels, indices=split.indices, image_shape=split.image_shape, paths=paths)


def test_files_give_the_same_batches_as_memory(split, files):
    options = {"epochs": 2, "first_step": 3, "augment": data.shift_and_mirror(pad=2)}
    same(batches(files, **options), batches(split, **options))


def test_file_that_goes_bad_later_stops_the_run_by_name(files):
    files.paths[4].write_bytes(b"")
    with pytest.raises(WorkError) as caught, data.naming_bad_files():
        batches(files)
    assert caught.value.message.startswith(f"{files.paths[4]}: is not an image of a kind that is read here")
    with pytest.raises(tf.errors.OpError), data.naming_bad_files():
        tf.reshape(tf.zeros(3), (2,))  # an error of another kind stays what it is


def test_skipped_steps_decode_nothing(files):
    for path in files.paths:
        path.unlink()
    with pytest.raises(tf.errors.OpError):
        batches(files, epochs=2, first_step=9)
    assert batches(files, epochs=2, first_step=10) == []


LEAVE_EARLY = """
import sys, numpy as np
from resdense_keras import data

class Files(data.Split):
    def array(self, indices):
        return np.zeros((len(indices), 32, 32, 3), np.uint8)

split = Files(labels=np.zeros(20_000, int), indices=np.arange(20_000), image_shape=(32, 32, 3))
batches = iter(data.pipeline(split, 128, epochs=100, augment=data.shift_and_mirror()))
for _ in range(3):
    next(batches)
"""


@pytest.mark.slow
def test_process_that_leaves_in_the_middle_of_reading_files_ends():
    for _ in range(4):
        subprocess.run([sys.executable, "-c", LEAVE_EARLY], timeout=60, check=True)

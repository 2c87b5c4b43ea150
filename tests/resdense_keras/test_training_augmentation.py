"""Laws of what is done to training images: keyed, so that a run that goes on sees the same; and within the pixels."""

import numpy as np
import pytest

from resdense_keras import data
from resdense_keras.training import augmentation, recipe


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


def batches(dataset, names, first_step=0, seed=3):
    """All batches of two epochs, as arrays."""
    chosen = recipe("fast", augment=names)
    found = data.pipeline(
        dataset.train,
        256,
        seed=seed,
        epochs=2,
        first_step=first_step,
        augment=augmentation.augment(chosen, dataset),
        mix=augmentation.mix(chosen, dataset.classes),
    )
    return [(images.numpy(), labels.numpy()) for images, labels in found]


@pytest.mark.parametrize("names", [("crop",), ("shift", "mirror"), ("randaugment",), ("mixup",), ("mixup", "cutmix")])
def test_a_batch_is_the_same_wherever_the_run_began(dataset, names):
    whole, later = batches(dataset, names), batches(dataset, names, first_step=4)
    assert len(whole) == 12 and len(later) == 8
    for (images, labels), (again, labels_again) in zip(whole[4:], later, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(labels, labels_again)
    assert all(images.min() >= 0 and images.max() <= 255 for images, _ in whole)
    assert np.abs(whole[0][0] - whole[6][0]).mean() > 1  # the epochs differ
    assert not np.array_equal(whole[0][0], batches(dataset, names, seed=4)[0][0])  # and the seeds


def test_mixed_labels_are_shares_of_two_classes(dataset):
    for images, labels in batches(dataset, ("mixup", "cutmix")):
        assert labels.shape == (len(images), dataset.classes)
        np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-5)
        assert ((labels > 1e-6).sum(axis=1) <= 2).all()


def test_without_mixing_labels_stay_numbers(dataset):
    assert augmentation.mix(recipe("fast"), dataset.classes) is None
    assert augmentation.augment(recipe("fast", augment=()), dataset) is None
    assert batches(dataset, ())[0][1].dtype == np.int64


def test_a_crop_is_a_part_of_its_image(dataset):
    """Interpolation adds no brightness, and a crop of a constant image is that image."""
    import tensorflow as tf

    keys = tf.random.stateless_uniform((64, 2), [1, 2], minval=None, maxval=None, dtype=tf.int32)
    grey = np.full((64, 8, 8, 3), 77, "float32")
    np.testing.assert_allclose(augmentation.crop(tf.constant(grey), keys), grey, rtol=1e-6)
    ramp = np.broadcast_to(np.arange(8, dtype="float32")[:, None, None], (64, 8, 8, 3))
    spans = np.ptp(augmentation.crop(tf.constant(ramp), keys).numpy(), axis=(1, 2, 3)) / 7
    assert spans.min() > 0.2 and spans.max() <= 1.0001 and spans.std() > 0.1  # areas of 8 to 100 %


def test_digits_are_not_mirrored(dataset):
    np.testing.assert_array_equal(batches(dataset, ("mirror",))[0][0], batches(dataset, ())[0][0])

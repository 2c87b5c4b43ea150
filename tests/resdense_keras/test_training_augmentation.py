"""Laws of what is done to training images: keyed, so that a run that goes on sees the same; and within the pixels."""

import numpy as np
import pytest
from PIL import Image

from resdense_keras import data
from resdense_keras.data import memory
from resdense_keras.training import augmentation, recipe


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


def batches(dataset, names, first_step=0, seed=3, size=256):
    """All batches of two epochs, as arrays."""
    chosen = recipe("fast", augment=names)
    found = data.pipeline(
        dataset.train,
        size,
        seed=seed,
        epochs=2,
        first_step=first_step,
        crop=augmentation.crop_files(chosen, dataset),
        augment=augmentation.augment(chosen, dataset),
        mix=augmentation.mix(chosen, dataset.classes),
    )
    return [(images.numpy(), labels.numpy()) for images, labels in found]


@pytest.mark.parametrize("names", [("crop",), ("reflect", "mirror"), ("randaugment",), ("mixup", "cutmix")])
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


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of two classes of striped photos, larger than the net's images and of several shapes."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, axis in (("across", 0), ("down", 1)):
        (root / name).mkdir()
        for number in range(20):
            height, width = random.integers(200, 320, 2)
            stripes = np.indices((height, width))[axis] // 4 % 2 * 200 + random.integers(0, 50)
            Image.fromarray(stripes.astype(np.uint8)).save(root / name / f"{number}.png")
    return root


def test_files_are_cropped_alike_wherever_the_run_began_and_whether_memory_holds_them(photos, monkeypatch):
    def found(**options):
        return batches(data.load(photos, image_size=32), ("crop", "mirror"), size=8, **options)

    whole, later = found(), found(first_step=5)
    monkeypatch.setattr(memory, "SHARE", 0)
    on_disk = found()
    assert len(whole) == 8 and len(later) == 3
    for first, second in [*zip(whole[5:], later, strict=True), *zip(whole, on_disk, strict=True)]:
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
    assert np.abs(whole[0][0] - whole[4][0]).mean() > 1  # the epochs differ


def test_a_crop_of_a_file_has_the_detail_that_the_resized_image_lacks(photos):
    """Stripes of 4 pixels vanish where 200 pixels become 32, and are there in a part of a third of the width."""
    loaded = data.load(photos, image_size=32)
    resized = loaded.train.images.std(axis=(1, 2, 3))
    cropped = np.concatenate([images.std(axis=(1, 2, 3)) for images, _ in batches(loaded, ("crop",), size=8)])
    assert resized.max() < 12 and cropped.max() > 60


def test_a_part_of_a_file_is_the_part_that_is_cut_out_of_an_array(tmp_path):
    """The two crops follow one formula; smooth images, where their filters agree."""
    import tensorflow as tf

    keys = tf.random.stateless_uniform((32, 2), [1, 2], minval=None, maxval=None, dtype=tf.int32)
    parts = augmentation.crop_parts(keys)
    inside = [place for place, (area, ratio, *_) in enumerate(parts.numpy()) if area * max(ratio, 1 / ratio) <= 1]
    smooth = np.stack(np.broadcast_arrays(*np.ogrid[:64, :64], 100), -1).astype(np.uint8) * 3
    Image.fromarray(smooth).save(tmp_path / "smooth.png")
    paths = (tmp_path / "smooth.png",) * 32
    split = data.Split(labels=np.arange(32), indices=np.arange(32), image_shape=(64, 64, 3), paths=paths)
    from_files = split.array(range(32), parts.numpy())
    from_arrays = augmentation.crop(tf.constant(np.repeat(smooth[None], 32, 0)), keys).numpy()
    assert len(inside) > 20
    assert np.abs(from_files - from_arrays)[inside].max() < 4  # of 192; half a pixel more at the border


def test_digits_are_not_mirrored(dataset):
    np.testing.assert_array_equal(batches(dataset, ("mirror",))[0][0], batches(dataset, ())[0][0])


def made(height, width, channels, **fields):
    """A data set of one white image, over and over."""
    pixels = np.full((4, height, width, channels), 255, np.uint8)
    pixels[:, :, : width // 2] //= 2  # the left half is grey
    split = data.Split(labels=np.zeros(4, int), indices=np.arange(4), image_shape=pixels.shape[1:], images=pixels)
    return data.Dataset(
        **{"spec": "photos"} | fields,
        class_names=None,
        image_shape=pixels.shape[1:],
        train=split,
        validation=split,
        test=split,
    )


def test_each_side_is_shifted_by_an_eighth_of_itself():
    """Seen in the widest black border that 256 shifts leave."""
    import tensorflow as tf

    keys = tf.random.stateless_uniform((256, 2), [1, 2], minval=None, maxval=None, dtype=tf.int32)
    wide = made(16, 64, 3)
    white = tf.fill((256, 16, 64, 3), tf.constant(255, tf.uint8))
    for rules, border in ((2, (2, 8)), (1, (2, 2))):
        shifted = augmentation.augment(recipe("fast", augment=("shift",)), wide, rules)(white, keys).numpy()
        black = shifted[..., 0] == 0
        assert (black.all(axis=2).sum(axis=1).max(), black.all(axis=1).sum(axis=1).max()) == border


@pytest.mark.parametrize(
    "dataset, rules, mirrored",
    [
        (made(8, 8, 3), 2, True),
        (made(8, 8, 1), 2, False),
        (made(8, 8, 1), 1, True),
        (made(8, 8, 3, mirror=False), 2, False),
        (made(8, 8, 1, spec="digits"), 1, False),
    ],
)
def test_writing_is_not_mirrored(dataset, rules, mirrored):
    import tensorflow as tf

    asked = recipe("fast", augment=("mirror",))
    assert augmentation.left_alone(asked, dataset, rules) == (set() if mirrored else {"mirror"})
    keys = tf.random.stateless_uniform((4, 2), [1, 3], minval=None, maxval=None, dtype=tf.int32)
    apply = augmentation.augment(asked, dataset, rules)
    assert (apply is None) == (not mirrored)
    if mirrored:
        turned = (apply(tf.constant(dataset.train.images), keys).numpy() != dataset.train.images).any(axis=(1, 2, 3))
        assert turned.any() and not turned.all()


def test_data_say_whether_they_may_be_mirrored(dataset, photos, tmp_path):
    """Digits may not, in colour neither: files of the names of the known sets of digits."""
    assert not dataset.mirror and data.load(photos, image_size=32).mirror
    images, labels = np.zeros((20, 8, 8, 3), np.uint8), np.arange(20) % 2
    for name, mirrored in (("SVHN.npz", False), ("cats.npz", True)):
        np.savez(tmp_path / name, x_train=images, y_train=labels, x_test=images, y_test=labels)
        assert data.load(tmp_path / name).mirror == mirrored


def test_a_row_is_all_that_an_augmentation_takes(dataset, monkeypatch):
    """Added in memory, it is found by recipes, by what a run says, by the pipeline and by both commands' help."""
    import importlib

    from resdense_cli import options

    about, change = "light becomes dark", lambda dataset, rules: lambda images, keys: 255 - images
    negative = augmentation.Augmentation(about=about, change=change)
    monkeypatch.setitem(augmentation.AUGMENTATIONS, "negative", negative)
    assert augmentation.describe(recipe("fast", augment=("negative",)), dataset) == "negative"
    np.testing.assert_array_equal(batches(dataset, ("negative",))[0][0], 255 - batches(dataset, ())[0][0])
    assert "negative (light becomes dark)" in importlib.reload(options).Augment.__metadata__[0].help
    monkeypatch.undo()
    importlib.reload(options)
    for command in ("train", "compare"):
        module = importlib.import_module(f"resdense_cli.commands.{command}")
        assert module.command.__annotations__["augment"].__metadata__[0].help == options.Augment.__metadata__[0].help


def test_a_recipe_that_names_shift_and_reflect_shifts_once(dataset):
    both, one = (batches(dataset, names)[0][0] for names in (("shift", "reflect"), ("reflect",)))
    np.testing.assert_array_equal(both, one)

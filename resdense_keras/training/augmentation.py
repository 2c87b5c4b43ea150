"""What a recipe does to training images. Each change is a pure function of a key made of (seed, epoch, image).

AUGMENTATIONS has a row for each name; recipes, help texts and the pipeline read it, so a new augmentation is a new row.
TensorFlow is imported where it is used, because the command line reads the names without it.

RandAugment, mixup and cutmix are Keras' own layers. These draw random numbers from an internal state that no checkpoint
saves. Here they get a generator that depends on the key of the batch, so that a resumed run sees the same images.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .. import compat

# How a recipe is read. 1, until 0.1.0: both sides are shifted by an eighth of the height, of all data only `digits` is
# never mirrored, and every file of weights to start from expects ImageNet's normalisation. 2: each side by its own
# eighth; images of one channel, which are mostly writing, are not mirrored; a run's model.keras brings the
# normalisation that it was trained with. A run keeps the rules that it began with.
RULES = 2

SHIFT = 8  # the papers shift 32x32 images by up to 4 pixels; other sizes by the same eighth
MIXUP_ALPHA = 0.2  # Zhang et al. 2018, arXiv:1710.09412, section 3.1: 0.1 to 0.4 for ImageNet
CUTMIX_ALPHA = 1.0  # Yun et al. 2019, arXiv:1905.04899, section 3.2
RANDAUGMENT_OPERATIONS, RANDAUGMENT_FACTOR = 2, 0.3  # ours: N = 2, M = 9 on the scale to 30 of Cubuk et al. 2020
CROP_AREA, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # Szegedy et al. 2015, arXiv:1409.4842, section 6


@dataclass(frozen=True)
class Augmentation:
    """What one name of a recipe's `augment` does to training images.

    Attributes:
        about: What it does, in words for help texts.
        change: (dataset, rules) -> a function (images, keys) -> images of that shape, or None where these data are not
            changed. None for a row that does nothing to single images.
        part: Function from keys to the part of each image that is decoded, where images come from files, see
            `crop_parts`; or None.
        mixer: Function that returns the Keras layer that mixes images in pairs; or None.
        replaces: Name of the row that this one replaces where a recipe names both, or None.
    """

    about: str
    change: Callable | None = None
    part: Callable | None = None
    mixer: Callable | None = None
    replaces: str | None = None


def mirrors(dataset, rules=RULES):
    """Whether images may be mirrored: not where the data forbid it, nor, by rules 2, where they have one channel, as
    writing has."""
    if rules == 1:
        return dataset.spec != "digits"
    return dataset.mirror and dataset.image_shape[-1] != 1


def shifts(dataset, rules=RULES):
    """Largest shift of the images in pixels, (down, right)."""
    height, width, _ = dataset.image_shape
    return tuple(max(1, side // SHIFT) for side in ((height, height) if rules == 1 else (height, width)))


def describe(recipe, dataset, rules=RULES):
    """Describes in words what a recipe does to these training images."""
    left_out = left_alone(recipe, dataset, rules)
    return ", ".join(name for name in recipe.augment if name not in left_out) or "none"


def left_alone(recipe, dataset, rules=RULES):
    """Names in the recipe that do nothing to these images."""
    return {name for name in recipe.augment if not _acts(AUGMENTATIONS[name], dataset, rules)}


def _acts(row, dataset, rules):
    if row.mixer or (row.part and dataset.train.paths is not None):
        return True
    return row.change is not None and row.change(dataset, rules) is not None


def augment(recipe, dataset, rules=RULES):
    """(images, keys) -> images, for `data.pipeline`; None where the recipe does not change images."""
    rows = [row for row in _rows(recipe) if row.change and not (row.part and dataset.train.paths is not None)]
    steps = [step for row in rows if (step := row.change(dataset, rules)) is not None]

    def apply(images, keys):
        for step in steps:
            images = step(images, keys)
        return images

    return apply if steps else None


def _rows(recipe):
    """The rows that a recipe names, in the table's order."""
    named = {name: row for name, row in AUGMENTATIONS.items() if name in recipe.augment}
    replaced = {row.replaces for row in named.values()}
    return [row for name, row in named.items() if name not in replaced]


def mix(recipe, classes):
    """(float images, labels, keys) -> images and one-hot labels mixed in pairs; None where the recipe mixes nothing.

    With both mixup and cutmix each batch gets one of the two, with equal chance.
    """
    import tensorflow as tf

    mixers = [_keyed(row.mixer()) for row in _rows(recipe) if row.mixer]
    if not mixers:
        return None

    def apply(images, labels, keys):
        pair = {"images": images, "labels": tf.one_hot(labels, classes)}
        mixed = mixers[0](pair, keys[0])
        for number, mixer in enumerate(mixers[1:], start=1):
            other = mixer(pair, keys[0])
            taken = keys[0, 0] % len(mixers) == number
            mixed = {name: tf.where(taken, other[name], mixed[name]) for name in pair}
        return tf.clip_by_value(mixed["images"], 0.0, 255.0), mixed["labels"]  # rounding goes a little beyond

    return apply


def crop_files(recipe, dataset):
    """Keys -> parts, for `data.pipeline`; None where the recipe does not crop, or the images have no files.

    Images in files are cropped while they are decoded: at the net's size their detail would be lost and small parts
    blurred.
    """
    if dataset.train.paths is None:
        return None
    return next((row.part for row in _rows(recipe) if row.part), None)


def crop_parts(keys):
    """Which part of each image a crop shows: (area, ratio, down, right) of `data.images.decode`, (B, 4) float32."""
    import tensorflow as tf

    area, ratio, down, right = tf.unstack(_uniform(keys), axis=1)  # (B,) each
    low, high = CROP_AREA
    area = low + (high - low) * area
    ratio = tf.exp(tf.math.log(CROP_RATIO[0]) + ratio * tf.math.log(CROP_RATIO[1] / CROP_RATIO[0]))
    return tf.stack([area, ratio, down, right], axis=1)


def crop(images, keys):
    """A random part of each image, resized to the full size: (B, H, W, C) -> float32 of that shape."""
    import tensorflow as tf

    area, ratio, down, right = tf.unstack(crop_parts(keys), axis=1)
    height = tf.minimum(tf.sqrt(area / ratio), 1.0)
    width = tf.minimum(tf.sqrt(area * ratio), 1.0)
    top, left = down * (1 - height), right * (1 - width)
    boxes = tf.stack([top, left, top + height, left + width], axis=1)
    return tf.image.crop_and_resize(images, boxes, tf.range(tf.shape(images)[0]), images.shape[1:3])


def _crop(dataset, rules):
    return crop


def _shift(dataset, rules):
    from ..data import shift_and_mirror

    return shift_and_mirror(pad=shifts(dataset, rules), mirror=False)


def _reflect(dataset, rules):
    from ..data import shift_and_mirror

    return shift_and_mirror(pad=shifts(dataset, rules), mirror=False, reflect=True)


def _mirror(dataset, rules):
    from ..data import shift_and_mirror

    return shift_and_mirror(pad=0, mirror=True) if mirrors(dataset, rules) else None


def _rand_augment(dataset, rules):
    """Keras' RandAugment; as in Keras, the operations are drawn once per batch."""
    import keras
    import tensorflow as tf

    keyed = _keyed(
        keras.layers.RandAugment(value_range=(0, 255), num_ops=RANDAUGMENT_OPERATIONS, factor=RANDAUGMENT_FACTOR)
    )

    def apply(images, keys):
        images = keyed(tf.cast(images, tf.float32), keys[0])
        return tf.clip_by_value(images, 0.0, 255.0)

    return apply


def _mixup():
    import keras

    return keras.layers.MixUp(alpha=MIXUP_ALPHA)


def _cutmix():
    import keras

    return keras.layers.CutMix(factor=CUTMIX_ALPHA)


# In the order in which they change an image.
AUGMENTATIONS = {
    "crop": Augmentation("a random part, enlarged to the full size", change=_crop, part=crop_parts),
    "shift": Augmentation("by up to an eighth of each side, black beside it", change=_shift),
    "reflect": Augmentation("shift with the mirrored image beside it", change=_reflect, replaces="shift"),
    "mirror": Augmentation("half of the images, left to right", change=_mirror),
    "randaugment": Augmentation("two random changes of colour or shape", change=_rand_augment),
    "mixup": Augmentation("blends images in pairs, and their labels", mixer=_mixup),
    "cutmix": Augmentation("puts a piece of one image into another, and mixes their labels", mixer=_cutmix),
}


def _uniform(keys):
    """Four numbers in [0, 1) from the bits of each key, (B, 2) int32 -> (B, 4) float32; the bit that mirrors is left
    out."""
    import tensorflow as tf

    words = tf.bitcast(keys, tf.uint32)
    halves = tf.concat([words // 65536, words // 2 % 32768], axis=1)  # (B, 4): 16, 16, 15 and 15 bits
    return tf.cast(halves, tf.float32) / tf.constant([65536.0, 65536.0, 32768.0, 32768.0])


def _keyed(layer):
    """`layer` as a function of (inputs, key); every random generator in it is replaced."""
    import keras
    import tensorflow as tf

    class KeyedGenerator(keras.random.SeedGenerator):
        """A generator whose seeds depend on `key` and the number of the draw; Keras' own generator counts in a
        variable."""

        def __init__(self):
            super().__init__(0)
            self.key, self.draws = None, 0

        def next(self, ordered=True):
            self.draws += 1
            return tf.bitcast(tf.random.experimental.stateless_fold_in(self.key, self.draws), tf.uint32)

    generator = KeyedGenerator()
    for part in compat.parts(layer):
        if hasattr(part, "generator"):
            compat.set_generator(part, generator)

    def apply(inputs, key):
        generator.key, generator.draws = key, 0
        return layer(inputs, training=True)

    return apply

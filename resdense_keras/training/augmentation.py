"""What a recipe does to training images, each a pure function of the key of (seed, epoch, image).

RandAugment, mixup and cutmix are Keras' own layers. Those draw from a state of their own, which no checkpoint reaches;
here their generator is one that folds the key of the batch, so that a run that goes on sees the images that it would
have seen.
"""

import keras
import tensorflow as tf

from ..data import shift_and_mirror
from .recipes import RULES

UNMIRRORED = {"digits", "mnist", "svhn"}  # a mirrored digit is another sign
SHIFT = 8  # the papers shift 32x32 images by up to 4 pixels; other sizes by the same eighth
MIXUP_ALPHA = 0.2  # Zhang et al. 2018, arXiv:1710.09412, section 3.1: 0.1 to 0.4 for ImageNet
CUTMIX_ALPHA = 1.0  # Yun et al. 2019, arXiv:1905.04899, section 3.2
RANDAUGMENT_OPERATIONS, RANDAUGMENT_FACTOR = 2, 0.3  # ours: N = 2, M = 9 on the scale to 30 of Cubuk et al. 2020
CROP_AREA, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # Szegedy et al. 2015, arXiv:1409.4842, section 6


def mirrors(recipe, dataset, rules=RULES):
    """Whether every second image is mirrored."""
    asked = "mirror" in recipe.augment
    if rules == 1:
        return asked and dataset.spec != "digits"
    return asked and dataset.spec not in UNMIRRORED and dataset.image_shape[-1] != 1


def shifts(recipe, dataset, rules=RULES):
    """The most pixels by which images are shifted (down, right)."""
    if not {"shift", "reflect"} & set(recipe.augment):
        return (0, 0)
    height, width, _ = dataset.image_shape
    return tuple(max(1, side // SHIFT) for side in ((height, height) if rules == 1 else (height, width)))


def describe(recipe, dataset, rules=RULES):
    """What a recipe does to these training images, in words."""
    left_out = set() if mirrors(recipe, dataset, rules) else {"mirror"}
    return ", ".join(name for name in recipe.augment if name not in left_out) or "none"


def augment(recipe, dataset, rules=RULES):
    """(images, keys) -> images, for `data.pipeline`; None where the recipe does not change images."""
    steps = []
    if "crop" in recipe.augment and dataset.train.paths is None:
        steps.append(crop)
    mirror, shift = mirrors(recipe, dataset, rules), shifts(recipe, dataset, rules)
    if mirror or any(shift):
        steps.append(shift_and_mirror(pad=shift, mirror=mirror, reflect="reflect" in recipe.augment))
    if "randaugment" in recipe.augment:
        steps.append(rand_augment())

    def apply(images, keys):
        for step in steps:
            images = step(images, keys)
        return images

    return apply if steps else None


def mix(recipe, classes):
    """(float images, labels, keys) -> images and one-hot labels mixed in pairs; None where the recipe mixes nothing.

    With both mixup and cutmix each batch gets one of them, half of the batches each.
    """
    layers = []
    if "mixup" in recipe.augment:
        layers.append(keras.layers.MixUp(alpha=MIXUP_ALPHA))
    if "cutmix" in recipe.augment:
        layers.append(keras.layers.CutMix(factor=CUTMIX_ALPHA))
    if not layers:
        return None
    mixers = [_keyed(layer) for layer in layers]

    def apply(images, labels, keys):
        pair = {"images": images, "labels": tf.one_hot(labels, classes)}
        mixed = mixers[0](pair, keys[0])
        if len(mixers) == 2:
            other = mixers[1](pair, keys[0])
            first = keys[0, 0] % 2 == 0
            mixed = {name: tf.where(first, mixed[name], other[name]) for name in pair}
        return tf.clip_by_value(mixed["images"], 0.0, 255.0), mixed["labels"]  # rounding goes a little beyond

    return apply


def crop_files(recipe, dataset):
    """Keys -> parts, for `data.pipeline`; None where the recipe does not crop, or the images have no files.

    An image of a file is cropped as it is decoded: at the net's size its detail is gone, and small parts would be
    blurred.
    """
    return crop_parts if "crop" in recipe.augment and dataset.train.paths is not None else None


def crop_parts(keys):
    """Which part of each image a crop shows: (area, ratio, down, right) of `data.images.decode`, (B, 4) float32."""
    area, ratio, down, right = tf.unstack(_uniform(keys), axis=1)  # (B,) each
    low, high = CROP_AREA
    area = low + (high - low) * area
    ratio = tf.exp(tf.math.log(CROP_RATIO[0]) + ratio * tf.math.log(CROP_RATIO[1] / CROP_RATIO[0]))
    return tf.stack([area, ratio, down, right], axis=1)


def crop(images, keys):
    """A random part of each image, brought back to the full size: (B, H, W, C) -> float32 of that shape."""
    area, ratio, down, right = tf.unstack(crop_parts(keys), axis=1)
    height = tf.minimum(tf.sqrt(area / ratio), 1.0)
    width = tf.minimum(tf.sqrt(area * ratio), 1.0)
    top, left = down * (1 - height), right * (1 - width)
    boxes = tf.stack([top, left, top + height, left + width], axis=1)
    return tf.image.crop_and_resize(images, boxes, tf.range(tf.shape(images)[0]), images.shape[1:3])


def rand_augment():
    """Keras' RandAugment; the operations are drawn once a batch, as Keras does."""
    layer = keras.layers.RandAugment(value_range=(0, 255), num_ops=RANDAUGMENT_OPERATIONS, factor=RANDAUGMENT_FACTOR)
    keyed = _keyed(layer)

    def apply(images, keys):
        images = keyed(tf.cast(images, tf.float32), keys[0])
        return tf.clip_by_value(images, 0.0, 255.0)

    return apply


def _uniform(keys):
    """Four numbers in [0, 1) from the bits of each key, (B, 2) int32 -> (B, 4) float32, but for the mirror's."""
    words = tf.bitcast(keys, tf.uint32)
    halves = tf.concat([words // 65536, words // 2 % 32768], axis=1)  # (B, 4): 16, 16, 15 and 15 bits
    return tf.cast(halves, tf.float32) / tf.constant([65536.0, 65536.0, 32768.0, 32768.0])


class _KeyedGenerator(keras.random.SeedGenerator):
    """Hands out seeds that depend on `key` and the number of the draw; Keras' own counts in a variable."""

    def __init__(self):
        super().__init__(0)
        self.key, self.draws = None, 0

    def next(self, ordered=True):
        self.draws += 1
        return tf.bitcast(tf.random.experimental.stateless_fold_in(self.key, self.draws), tf.uint32)


def _keyed(layer):
    """`layer` as a function of (inputs, key), with every generator in it replaced."""
    generator = _KeyedGenerator()
    for part in (layer, *layer._flatten_layers(include_self=False)):
        if hasattr(part, "generator"):
            part.generator = generator
            part._backend_generators = {"tensorflow": generator}  # taken in tf.data where Keras runs on JAX

    def apply(inputs, key):
        generator.key, generator.draws = key, 0
        return layer(inputs, training=True)

    return apply

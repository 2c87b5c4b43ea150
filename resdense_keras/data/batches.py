"""The one tf.data pipeline: batches in an order that depends only on (seed, epoch, index).

So a run that is stopped anywhere and resumed sees the same batches as a run that was not stopped. TensorFlow's own
`shuffle` and `tf.image.random_*` keep a state that no checkpoint saves; in `map` the latter even repeat the same
augmentation in every epoch.
"""

from __future__ import annotations

import atexit
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from resdense_keras.data.pool import usable_processors
from resdense_keras.errors import WorkError

if TYPE_CHECKING:
    from resdense_keras.data.dataset import Split

AT_ONCE = 4  # most batches that are made from arrays in parallel; each takes milliseconds
_FAULTS = []  # of files, for `naming_bad_files`: of an error in a pipeline TensorFlow keeps only the text
_ALGORITHM = "philox"  # named, for "auto_select" differs from device to device


def pipeline(
    split: Split,
    batch_size: int,
    *,
    seed: int = 0,
    epochs: int = 1,
    first_step: int = 0,
    shuffle: bool = True,
    crop: Callable[..., Any] | None = None,
    augment: Callable[..., Any] | None = None,
    mix: Callable[..., Any] | None = None,
    part: tuple[int, int] = (0, 1),
    whole: bool = False,
) -> tf.data.Dataset:
    """Batches of `split`, epoch after epoch; the last batch of an epoch may be smaller.

    Args:
        split: A `Split`; its pixels stay uint8, or in their files, until the batch is made.
        seed: Decides order and augmentation of every epoch.
        epochs: Number of epochs, counted from the beginning of the training and not from `first_step`.
        first_step: Number of batches to leave out, for a run that is resumed; they are not decoded.
        shuffle: Whether each epoch has its own order; without it all epochs have the order of the split.
        crop: Keys -> (B, 4) float32 parts of the images in their files, see `images.decode`. Only for a split with
            files, which are then read for every batch, even where their pixels are in memory.
        augment: (uint8 images (B, H, W, C), int32 keys (B, 2)) -> images of that shape, see `shift_and_mirror`. A key
            belongs to one image in one epoch; it is a seed for TensorFlow's stateless operations.
        mix: (float32 images, int64 labels, keys) -> images and labels of any kind, for what mixes labels too.
        part: (i, n) for the i-th of n equal parts of every batch, for training on n hosts; needs `whole`.
        whole: Leave out the smaller batch at the end of an epoch. Each epoch leaves out other images.
    Returns:
        tf.data.Dataset of known length, (float32 [0, 255] (B, H, W, C), int64 (B,)). Iterate over it inside
        `naming_bad_files`.
    """
    steps = len(split) // batch_size if whole else -(-len(split) // batch_size)
    first_epoch, skipped = divmod(first_step, steps)

    def examples(epoch):
        order, keys = _epoch(seed, epoch, len(split), shuffle)
        begin = tf.where(epoch == first_epoch, skipped * batch_size, 0)
        batches = tf.data.Dataset.from_tensor_slices((order[begin:], keys[begin:])).batch(batch_size, whole)
        return batches if part == (0, 1) else batches.map(lambda *batch: tuple(dealt(tensor) for tensor in batch))

    def dealt(tensor):
        return tf.split(tensor, part[1])[part[0]]

    def load(indices, keys):
        images = read(indices) if crop is None else read(indices, crop(keys))
        images = images if augment is None else augment(images, keys)
        images, labels = tf.cast(images, tf.float32), tf.gather(split.labels, indices)
        return (images, labels) if mix is None else mix(images, labels, keys)

    read_arrays = split.images is not None and not crop
    read = _from_memory(split) if read_arrays else _from_files(split)
    batches = tf.data.Dataset.range(first_epoch, epochs).flat_map(examples)
    # The pool of data.pool decodes files with all processors; a second call keeps it busy between two batches. More
    # would only hold more batches.
    parallel = min(AT_ONCE, usable_processors()) if read_arrays else 2
    batches = batches.map(load, num_parallel_calls=parallel, deterministic=True)
    left = max(0, epochs * steps - first_step)
    # TensorFlow's autotuner sleeps for up to a minute between two checks, and whoever stops a pipeline waits for it.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.apply(tf.data.experimental.assert_cardinality(left)).prefetch(2).with_options(options)


@contextlib.contextmanager
def naming_bad_files():
    """Re-raises TensorFlow's error about an unreadable file as the WorkError that names the file.

    Also a decorator, for a function that takes batches of a `pipeline`.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for fault in _FAULTS:
            if fault.message in error.message:
                raise fault from None
        raise


def shift_and_mirror(pad: int | tuple[int, int] = 4, mirror: bool = True, reflect: bool = False) -> Callable[..., Any]:
    """The augmentation of the CIFAR papers, for `pipeline`: shifts by up to `pad` pixels and mirrors half of the
    images.

    `pad` is one number, or (down, right). The gap that a shift leaves is black, or with `reflect` filled with the
    mirrored border of the image, which keeps the statistics of batch norms closer to those of whole images. Pass
    `mirror=False` for digits and other writing.
    """

    tall, wide = (pad, pad) if isinstance(pad, int) else pad

    def augment(images, keys):
        height, width = images.shape[1:3]
        down, right = keys[:, :1] % (2 * tall + 1), keys[:, 1:] // 2 % (2 * wide + 1)  # (B, 1): where the cut begins
        rows, columns = down + tf.range(height), right + tf.range(width)  # (B, H), (B, W)
        if mirror:
            columns = tf.where(keys[:, 1:] % 2 == 0, columns, columns[:, ::-1])
        around = [[0, 0], [tall, tall], [wide, wide], [0, 0]]
        padded = tf.pad(images, around, "REFLECT" if reflect else "CONSTANT")  # (B, H + 2 tall, W + 2 wide, C)
        return tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)

    return augment


def _epoch(seed, epoch, count, shuffle):
    """The order of one epoch, (count,) int64, and the key of each image, (count, 2) int32, in that order.

    Keys are drawn for all images at once and by index, so a key does not depend on its image's place in the order.
    """
    keys = tf.random.stateless_uniform(
        (count, 2), [seed, 2 * epoch], minval=None, maxval=None, dtype=tf.int32, alg=_ALGORITHM
    )
    order = tf.range(count, dtype=tf.int64)
    if shuffle:
        order = tf.random.experimental.stateless_shuffle(order, [seed, 2 * epoch + 1], alg=_ALGORITHM)
    return order, tf.gather(keys, order)


def _from_memory(split):
    with tf.device("CPU"):  # where tf.data works; a GPU's memory is for the model
        images = tf.constant(split.images)
    return lambda indices: tf.gather(images, indices)


def _from_files(split):
    def read_files(*given):
        with _DOOR.passing():
            try:
                return split.array(*given)
            except WorkError as fault:
                _FAULTS.append(fault)
                raise

    def read(*given):
        images = tf.numpy_function(read_files, given, tf.uint8, stateful=False)
        return tf.ensure_shape(images, (None, *split.image_shape))

    return read


class _Door:
    """Lets TensorFlow's threads call Python until the interpreter ends.

    A thread that asks for the interpreter's lock while the interpreter ends is stopped for good, and whoever waits for
    the thread waits for ever: one in ten processes that left a training early did not end. So at the end new calls are
    refused first, and running ones are waited for.
    """

    quiet_seconds = 0.2  # after which nobody is on the way: nothing is consumed any more, so the buffers are full

    def __init__(self):
        self._inside, self._closed, self._last = set(), False, 0.0

    @contextlib.contextmanager
    def passing(self):
        call = object()
        self._inside.add(call)
        self._last = time.monotonic()
        try:
            if self._closed:
                raise RuntimeError("the program ends")
            yield
        finally:
            self._inside.discard(call)

    def close(self):
        self._closed = True
        while self._inside or time.monotonic() - self._last < self.quiet_seconds:
            time.sleep(0.02)


_DOOR = _Door()
atexit.register(_DOOR.close)

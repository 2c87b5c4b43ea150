"""Measures the worth of channels: how much the answers change without them, on training images and without labels.

"Answers" are the centred logits, which hold all differences between logits. Labels are not used, because they say
nothing where images were learnt by heart. Removing a channel removes its deviation from its mean, because the repair
keeps the mean. There are three measures:

- to first order, for every group of channels at once: the slope of the answers along the channel times its deviation.
  One random direction of the logits per image replaces all: its square is, on average, that of the whole change.
  Source: Molchanov et al. 2017, arXiv:1611.06440, section 2.2, with the logits in the loss's place.
- for channels that an addition joins: their share in the outputs of each of the next convolutions and dense layers,
  which is squared kernel times variance of what it reads. On ResNet-20 the first order ranks such channels no better
  than chance does (benchmarks/slim_ranking.py).
  Source: An et al. 2023, arXiv:2312.11983, section 3, the weighted variance of inputs, there standardised otherwise.
- directly, for one choice at a time: the net answers with the channels held at their means. The first order says little
  about a whole branch: for 65 % of ResNet-20's MACs in int8 it removes two blocks of the first stage, where the direct
  measure removes one.
"""

import math
import time
from collections import Counter

import numpy as np

from .building import build
from .channels import CHANNELWISE, PRODUCERS
from .costs import macs
from .shrinking import shape_of

SECONDS = 120  # the most that the first order takes; fewer images are looked at then
IMAGES, BATCH = 2_000, 50
BYTES = 3 * 2**30  # of what one batch keeps for its slopes, about; a large net has smaller batches
MEASURED = 256  # images of a measured choice, fewer of a large net
MACS = 2e12  # of all choices that could be measured: a minute or so; half of a net asks for fewer
LEAST_MEASURED = 8  # images; a net for which MACS has fewer is measured only where a whole site leaves


class Scores:
    """The worth of the groups of a channels.Net.

    Args:
        net: The Net.
        images: (N, H, W, C) training images, in random order.
        seed: Seed of the directions.
        seconds: Time for the first-order measure; it uses as many images as fit.
        progress: Function of (images done, images).
        stair: Number of channels by which widths fall; it determines how many choices there are to measure.
    Attributes:
        images: Number of images that were used.
        single: (groups,) mean square of the first-order change without that group.
        local: (groups,) the share of a group in the squared kernels times the variances of what they read; the sum over
            the layers that read it.
        worth: (groups,) what ranks the groups of one site: `local` where an addition joins them, else `single`.
    """

    def __init__(self, net, images, seed=0, seconds=SECONDS, progress=None, stair=16):
        self.net, self.built, self.watched = net, build(net), tails(net)
        self._found = {}
        changes, variances = self._first_order(images[:IMAGES], seed, seconds, progress or _nothing)
        self.images, self.single = len(changes), np.mean(changes.astype(np.float64) ** 2, axis=0)
        self.local = self._next_layers(variances)
        joined = np.zeros(net.count, bool)
        for node in net.nodes:
            joined[net.groups[node.name]] |= net.kinds[node.name] == "Add"
        self.worth = np.where(joined, self.local, self.single)
        sites = Counter(net.born[group] for group in np.flatnonzero(~net.fixed).tolist())
        choices = sum(-(-channels // stair) for channels in sites.values())
        fitting = int(MACS / max(1, choices * macs(net, shape_of(net, net.everything))))
        self.measures_all = fitting >= LEAST_MEASURED
        self._sample = images[: int(np.clip(fitting, LEAST_MEASURED, MEASURED))].astype(np.float32)
        self._prepare()

    def of(self, groups, whole=False):
        """The mean square of the change of the answers without `groups`.

        `whole`: They are all groups of a site, so that a layer is removed. Only then a large net is measured; else its
        change is the sum of `single`, for groups that an addition joins too.
        """
        if not len(groups):
            return 0.0
        if not self.measures_all and not whole:
            return float(self.single[groups].sum())
        key = tuple(sorted(int(group) for group in groups))
        if key not in self._found:
            self._found[key] = self._measured(groups)
        return self._found[key]

    def _first_order(self, images, seed, seconds, progress):
        """(images, groups) float32, and {node: (channels,) variances} of what convolutions and dense layers read."""
        import keras
        import tensorflow as tf

        from resdense_keras.training.objectives import logits_of

        built, net = self.built, self.net
        inner = [built.tensors[name] for name in self.watched.values()]
        sources = list(dict.fromkeys(node.inputs[0] for node in net.nodes if net.kinds[node.name] in PRODUCERS))
        reads = [built.tensors[name] for name in sources]
        watching = keras.Model(built.model.inputs, [inner, reads, *built.model.outputs])
        self._logits = logits_of(built.model)
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), (len(images), built.model.output_shape[-1]))

        @tf.function(reduce_retracing=True)
        def products(batch, directions):
            with tf.GradientTape() as tape:
                tensors, read, outputs = watching(batch, training=False)
                along = tf.reduce_sum(_centred(self._logits(outputs)) * directions, axis=-1)
            slopes = tape.gradient(along, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            found = []
            for tensor, slope in zip(tensors, slopes, strict=True):
                axes = list(range(1, len(tensor.shape) - 1))
                sums = tf.reduce_sum(slope * tensor, axes), tf.reduce_sum(slope, axes)
                found.append((*sums, tf.reduce_mean(tensor, axes)))
            return found, [_moments(tensor) for tensor in read]

        parts, moments, begun, size = [], [], time.monotonic(), _batch(net)
        for first in range(0, len(images), size):
            if parts and time.monotonic() - begun > seconds:
                break
            batch = tf.constant(images[first : first + size], tf.float32)
            found, read = products(batch, tf.constant(signs[first : first + size], tf.float32))
            parts.append([[part.numpy() for part in one] for one in found])
            moments.append([[part.numpy() for part in one] for one in read])
            progress(min(len(images), first + size), len(images))
        changes = np.zeros((sum(len(part[0][0]) for part in parts), net.count), np.float32)
        self._means = {}
        for number, (producer, tail) in enumerate(self.watched.items()):
            product, slope, mean = (np.concatenate([part[number][k] for part in parts]) for k in range(3))
            self._means[tail] = mean.mean(axis=0)
            np.add.at(changes, (slice(None), net.groups[producer]), product - slope * self._means[tail])
        weights = [len(part[0][0]) for part in parts]  # images of a batch
        return changes, {
            name: _pooled(*([part[number][k] for part in moments] for k in range(2)), weights)
            for number, name in enumerate(sources)
        }

    def _next_layers(self, variances):
        """`local`. The share makes it independent of a kernel's scale, which the norm behind it may undo."""
        found = np.zeros(self.net.count)
        for node in self.net.nodes:
            if self.net.kinds[node.name] in PRODUCERS:
                part = squares(node) * variances[node.inputs[0]]
                if part.any():
                    np.add.at(found, self.net.groups[node.inputs[0]], part / part.sum())
        return found

    def _prepare(self):
        """A function of images that holds channels at their means where their gate is 0."""
        import tensorflow as tf

        self._gates = {tail: tf.Variable(tf.ones(len(mean))) for tail, mean in self._means.items()}

        @tf.function(reduce_retracing=True)
        def answers(images):
            values = {}
            for name, step in self.built.steps.items():
                values[name] = images if step is None else step[1]([values[source] for source in step[0]])
                if name in self._gates:
                    mean = self._means[name]
                    values[name] = mean + self._gates[name] * (values[name] - mean)
            (end,) = (node.inputs[0] for node in self.net.nodes if node.kind == "Output")
            return _centred(self._logits(values[end]))

        self._answers = answers
        self._whole = self._answer()

    def answers(self, model, images):
        """(images, classes) centred logits of a slim or whole model of this net."""
        size = _batch(self.net, 8)  # without a graph Keras keeps what all layers give
        parts = (images[first : first + size].astype(np.float32) for first in range(0, len(images), size))
        return np.concatenate([_centred(self._logits(model(part, training=False))).numpy() for part in parts])

    def _answer(self):
        parts = range(0, len(self._sample), BATCH)
        return np.concatenate([self._answers(self._sample[first : first + BATCH]).numpy() for first in parts])

    def _measured(self, groups):
        leaves = np.zeros(self.net.count, bool)
        leaves[groups] = True
        touched = [
            (producer, tail) for producer, tail in self.watched.items() if leaves[self.net.groups[producer]].any()
        ]
        for producer, tail in touched:
            self._gates[tail].assign(1.0 - leaves[self.net.groups[producer]])
        moved = self._answer() - self._whole
        for _, tail in touched:
            self._gates[tail].assign(np.ones(self._gates[tail].shape))
        return mean_square(moved)


def squares(node):
    """(channels,) the sum of squares of the kernel of a convolution or dense layer for each channel that it reads."""
    kernel = node.weights["kernel"].reshape(-1, *node.weights["kernel"].shape[-2:])
    return np.einsum("kio,kio->i", kernel, kernel)


def _moments(tensor):
    """(channels,) means and variances over images and places."""
    import tensorflow as tf

    return tf.nn.moments(tf.cast(tensor, tf.float32), list(range(len(tensor.shape) - 1)))


def _pooled(means, variances, weights):
    """The variance over all images from the means and variances of batches."""
    means, variances = np.asarray(means, np.float64), np.asarray(variances, np.float64)
    apart = means - np.average(means, axis=0, weights=weights)
    return np.average(variances + apart**2, axis=0, weights=weights)


def _batch(net, part=1):
    """Number of images whose numbers of all layers take BYTES over `part`, at most BATCH."""
    numbers = sum(math.prod(size or 1 for size in node.shape) for node in net.nodes)
    return int(np.clip(BYTES // part // (4 * numbers), 1, BATCH))


def mean_square(moved):
    """The mean over images of the squared length of (images, classes) changes of the answers."""
    return float(np.mean(np.sum(moved.astype(np.float64) ** 2, axis=-1)))


def tails(net):
    """{producer: the node at which its channels are measured}, the last one that works on them channel by channel."""
    users, found = net.users(), {}
    for node in net.nodes:
        if net.kinds[node.name] not in PRODUCERS or net.fixed[net.groups[node.name]].all():
            continue
        name = node.name
        while len(users[name]) == 1 and _hands_on(net, users[name][0], len(net.groups[name])):
            name = users[name][0].name
        found[node.name] = name
    return found


def _hands_on(net, node, channels):
    return net.kinds[node.name] in CHANNELWISE and len(net.groups[node.name]) == channels and node.name not in net.uncut


def _centred(logits):
    """The logits minus their mean over the classes; a single number, for two classes, stays as it is."""
    import keras

    return logits if logits.shape[-1] == 1 else logits - keras.ops.mean(logits, axis=-1, keepdims=True)


def _nothing(*arguments):
    pass

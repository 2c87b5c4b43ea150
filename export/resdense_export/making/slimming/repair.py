"""Solves the layers of a slim net again: ridge regression towards the whole net's outputs, on the slim net's own
inputs.

A layer that lost inputs can replace much of them by the inputs that are left. Both nets run side by side, layer by
layer, so that each layer is solved on the output of the repaired layers before it. Then the statistics of the batch
norms are measured again, and their scales and shifts are rewritten such that they compute the same as before. So the
first step of a training changes little. Source: He, Zhang and Sun 2017, arXiv:1707.06168, section 3.2 (reconstruction
by least squares).
"""

import operator

import numpy as np

from .building import build
from .channels import PRODUCERS
from .costs import macs
from .exported import places_of
from .norms import is_norm
from .shrinking import shape_of
from .solved import changed, norm_behind, solved

IMAGES = 1_000  # the most; fewer where the memory would not hold what runs at once
BYTES = 3 * 2**30  # of activations of both nets
ROWS = 60_000  # positions that a layer is solved on, fewer where they hold more than NUMBERS
NUMBERS = 2**27
RIDGE = 1e-3  # of the mean square of the inputs: how strongly weights stay where they were
BATCH = 100
SMALL_SCALE = 1e-2  # of a batch norm: a channel that it silences is not asked for more


def images_that_fit(net, most=IMAGES):
    """Number of images that both nets can hold at once, at most `most`."""
    users, alive, peak, now = net.users(), {}, 0, 0
    left = {name: len(readers) for name, readers in users.items()}
    for node in net.nodes:
        alive[node.name] = 4 * int(np.prod([size or 1 for size in node.shape]))
        now += alive[node.name]
        peak = max(peak, now)
        for source in node.inputs:
            left[source] -= 1
            if not left[source]:
                now -= alive[source]
    return int(np.clip(BYTES // (2 * max(peak, 1)), 1, most))


def work(net, images):
    """Multiply-adds of a repair on so many images, about: of both nets' outputs and of the regressions."""
    total = 3 * images * macs(net, shape_of(net, net.everything))
    for node in net.nodes:
        if net.kinds[node.name] in PRODUCERS:
            features = _features(node, net.by_name[node.inputs[0]].shape[-1] or 1)
            rows = images * _places(places_of(node.shape), images, features)
            small = min(rows, features)
            total += rows * features * (small + 2 * (node.shape[-1] or 1)) + small**3
    return total


def repaired(net, keep, images, name="model", whole=None):
    """The slim model of the groups `keep`, its layers solved again on `images`; `whole` is the Built whole net."""
    thin = build(net, keep, name=name)
    repair(net, whole or build(net), thin, keep, images)
    return thin.model


def repair(net, whole, slim, keep, images):
    """Solves, in place, those layers of the Built net `slim` whose inputs changed, against those of the Built `whole`.

    Args:
        net: The channels.Net that both were built from; `slim` of the groups `keep`.
        images: (N, H, W, C) training images; labels are not needed.
    """
    _Repair(net, whole, slim, keep, images).run()


class _Repair:
    def __init__(self, net, whole, slim, keep, images):
        self.net, self.whole, self.slim, self.images = net, whole, slim, images
        self.shape, self.users = shape_of(net, keep), net.users()
        self.random = np.random.default_rng(0)
        self.values = {True: {}, False: {}}  # of the whole net and of the slim one, {node: (N, ...) outputs}
        self.unread = {name: len(readers) for name, readers in self.users.items()}
        self.changed, self.solved = changed(net, self.shape), solved(net, self.shape)

    def run(self):
        for node in self.net.nodes:
            if node.kind != "Output":
                self.node(node)
            for source in node.inputs:
                self.unread[source] -= 1
                if not self.unread[source]:
                    self.values[True].pop(source, None)
                    self.values[False].pop(source, None)

    def node(self, node):
        name, runs = node.name, node.name in self.shape.widths
        if node.kind == "Input":
            self.values[True][name] = self.values[False][name] = self.images.astype(np.float32)
            return
        self.values[True][name] = self.outputs(self.whole, True, name)
        if not runs:
            return
        if self.slim.layers.get(name) is not None and name in self.changed:
            if name in self.solved:
                self.solve(node)
            elif is_norm(node):
                self.measure(node)
        # What has not changed is the very array of the whole net
        self.values[False][name] = (
            self.outputs(self.slim, False, name) if name in self.changed else self.values[True][name]
        )

    def outputs(self, built, whole, name):
        """(N, ...) outputs of a node, batch by batch."""
        sources, function = built.steps[name]
        values = [self.values[whole][source] for source in sources]
        return _batched(function, values)

    def solve(self, node):
        """Weights and bias of a layer by ridge regression around the present ones."""
        layer = self.slim.layers[node.name]
        norm = norm_behind(self.net, self.users, node.name)
        rows, goals = self.rows(node, norm)
        kernel = layer.kernel.numpy()
        prior = kernel.reshape(-1, kernel.shape[-1])
        rows_mean, goals_mean = rows.mean(axis=0), goals.mean(axis=0)
        rows, goals = rows - rows_mean, goals - goals_mean
        solved = prior + _ridge(rows, goals - rows @ prior)
        bias = goals_mean - rows_mean @ solved
        if not np.isfinite(solved).all():
            return
        layer.kernel.assign(solved.reshape(kernel.shape))
        if layer.use_bias:
            layer.bias.assign(bias)
        elif norm is not None:
            behind = self.slim.layers[norm]
            behind.moving_mean.assign(behind.moving_mean.numpy() - bias)

    def rows(self, node, norm):
        """(rows, inputs) and (rows, outputs) float32: what a layer reads at some positions, and should give there."""
        inputs = self.values[False][node.inputs[0]]
        positions = places_of(node.shape)
        each = _places(positions, len(inputs), _features(node, inputs.shape[-1]))
        chosen = np.sort(self.random.choice(positions, each, replace=False))

        def at(array):
            return array.reshape(len(array), positions, array.shape[-1])[:, chosen]

        out = self.shape.keep[self.net.groups[node.name]]
        origin = self.whole.layers[node.name]
        goals = at(self.linear(node, origin))[..., out]
        for factor, source, whole, kept in self.drift(node, norm):
            goals = goals + factor * at(self.values[whole][source])[..., kept]
        rows = at(inputs) if self.net.kinds[node.name] == "Dense" else _patches(inputs, node, chosen)
        return rows.reshape(-1, rows.shape[-1]), goals.reshape(-1, goals.shape[-1])

    def linear(self, node, origin):
        """Output of the whole net's layer before its activation."""
        import keras

        if origin.activation is keras.activations.linear:
            return self.values[True][node.name]
        kind = self.net.kinds[node.name]
        return _batched(lambda inputs: _linear(origin, inputs[0], kind), [self.values[True][node.inputs[0]]])

    def drift(self, node, norm):
        """[(factor, node, whether of the whole net, channels)]: what to add to a layer's goal, so that it replaces what
        is missing from the sum after it, such as the output of a lost branch.
        """
        tail = norm or node.name
        add = self.users[tail][0] if len(self.users[tail]) == 1 else None
        if add is None or self.net.kinds[add.name] != "Add" or add.name not in self.shape.widths:
            return []
        others = [source for source in add.inputs if source != tail]
        if any(source not in self.values[True] for source in others):
            return []  # computed later
        factor = np.float32(1)
        if norm is not None:
            behind = self.slim.layers[norm]
            gamma = 1.0 if behind.gamma is None else behind.gamma.numpy()
            scale = gamma / np.sqrt(behind.moving_variance.numpy() + behind.epsilon)
            factor = np.where(np.abs(scale) > SMALL_SCALE, 1 / np.where(scale == 0, 1, scale), 0).astype(np.float32)
        kept = self.shape.keep[self.net.groups[add.name]]
        there = [source for source in others if source in self.values[False]]
        whole = [(factor, source, True, kept) for source in others]
        return whole + [(-factor, source, False, slice(None)) for source in there]

    def measure(self, node):
        """Gives a batch norm the statistics of its present input, and a scale and shift such that its output stays the
        same."""
        layer, inputs = self.slim.layers[node.name], self.values[False][node.inputs[0]]
        axes = tuple(range(inputs.ndim - 1))
        mean, variance = inputs.mean(axes, dtype=np.float64), inputs.var(axes, dtype=np.float64)
        if layer.gamma is None or layer.beta is None:
            return
        gamma, beta, old_mean, old_variance = (array.astype(np.float64) for array in layer.get_weights())
        # A channel that is the same in all images, such as a dead one, keeps its statistics
        mean, variance = np.where(variance > 0, mean, old_mean), np.where(variance > 0, variance, old_variance)
        scale = gamma / np.sqrt(old_variance + layer.epsilon)
        layer.gamma.assign(scale * np.sqrt(variance + layer.epsilon))
        layer.beta.assign(beta + (mean - old_mean) * scale)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)


def _batched(function, values):
    """Outputs of a function of [(N, ...) arrays], batch by batch; it may return several arrays, and take such."""
    from keras import tree

    count, outputs = len(tree.flatten(values)[0]), None
    for first in range(0, count, BATCH):
        part = slice(first, first + BATCH)
        inputs = tree.map_structure(operator.itemgetter(part), values)
        found = tree.map_structure(np.asarray, function(inputs))
        if outputs is None:
            outputs = tree.map_structure(lambda array: np.empty((count, *array.shape[1:]), array.dtype), found)
        for array, own in zip(tree.flatten(outputs), tree.flatten(found), strict=True):
            array[part] = own
    return outputs


def _ridge(rows, goals):
    """(inputs, outputs): the ridge regression of (N, outputs) `goals` on (N, inputs) `rows`, in the smaller of two
    forms that give the same."""
    strength = RIDGE * max(float(np.vdot(rows, rows)) / rows.shape[1], 1e-30)  # times the mean of the Gram's diagonal
    wide = rows.shape[1] > len(rows)
    gram = (rows @ rows.T if wide else rows.T @ rows).astype(np.float64)
    gram[np.diag_indices_from(gram)] += strength
    return rows.T @ np.linalg.solve(gram, goals) if wide else np.linalg.solve(gram, rows.T @ goals)


def _features(node, channels):
    """Number of inputs of each output of a layer that reads so many channels."""
    return int(np.prod(node.attributes.get("kernel_size", (1,)))) * channels


def _places(positions, images, features):
    """Number of positions of each image that a layer is solved on."""
    return max(1, min(positions, ROWS // images, NUMBERS // (images * features)))


def _patches(inputs, node, chosen):
    """(N, positions, features): what each of the `chosen` output positions reads, features in the kernel's order."""
    settings, (height, width) = node.attributes, inputs.shape[1:3]
    down, across = np.unravel_index(chosen, node.shape[:2])
    places = []
    for start, size, axis in ((down, height, 0), (across, width, 1)):
        kernel, stride, step = (settings[name][axis] for name in ("kernel_size", "strides", "dilation_rate"))
        reach = (kernel - 1) * step + 1
        before = max((-(-size // stride) - 1) * stride + reach - size, 0) // 2 if settings["padding"] == "same" else 0
        places.append([start * stride + number * step - before for number in range(kernel)])
    found = []
    for rows in places[0]:
        for columns in places[1]:
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            part = inputs[:, np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
            found.append(part * inside[:, np.newaxis].astype(part.dtype))
    return np.concatenate(found, axis=-1)


def _linear(layer, inputs, kind):
    """Output of a layer before its activation."""
    import keras

    found = keras.ops.matmul(inputs, layer.kernel) if kind == "Dense" else layer.convolution_op(inputs, layer.kernel)
    return found + layer.bias if layer.use_bias else found

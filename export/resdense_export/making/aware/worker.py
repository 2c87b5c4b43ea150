"""The process that may import tensorflow-model-optimization: `python -m resdense_export.making.aware.worker FOLDER`.

It reads what parent.py wrote into the folder, trains, writes trained.npz, and prints one line per round.
"""

import json
import sys
from pathlib import Path

import numpy as np

from ...nets.emitting import emit
from ...nets.layers import WEIGHTED
from ...nets.node import Node
from .methods import Method

CALIBRATION = 200  # training images that set the first ranges; without them a short training starts from -6 .. 6
TEMPERATURE = 4.0  # temperature of the teacher; at 1 its outputs on images that it has learnt by heart are like labels
SPARSE_AT = 0.5  # share of the training after which the sparsity is reached; the rest repairs the accuracy


def main(folder):
    from resdense_keras import data

    folder = Path(folder)
    job = json.loads((folder / "job.json").read_text())
    method = Method(**job["method"])
    train, validation = (_read_split(folder, name, fields) for name, fields in job["splits"].items())
    nodes = [affine_as_depthwise(node) for node in without_softmax(read_nodes(folder))]
    net = Sparse(nodes, method) if method.sparsity else Rounded(nodes, train)
    with data.naming_bad_files():
        best = _train(net, method, train, validation, job)
    np.savez(folder / "trained.npz", **best)


def read_nodes(folder):
    """The nodes that parent.write_nodes wrote; float32 throughout."""
    weights = {}
    with np.load(folder / "weights.npz") as arrays:
        for key in arrays.files:
            name, _, weight = key.rpartition("/")
            weights.setdefault(name, {})[weight] = arrays[key]
    rows = json.loads((folder / "nodes.json").read_text())
    return [
        Node(
            row["name"],
            row["kind"],
            tuple(row["inputs"]),
            tuple(row["shape"]),
            attributes=row["attributes"],
            weights=weights.get(row["name"], {}),
        )
        for row in rows
    ]


def without_softmax(nodes):
    """The nodes without the final softmax, because a rounded probability has no usable logarithm."""
    by_name = {node.name: node for node in nodes}
    output = next(node for node in nodes if node.kind == "Output")
    last = by_name[output.inputs[0]]
    if last.kind != "Activation" or last.attributes["activation"] != "softmax":
        return nodes
    end = Node(output.name, "Output", last.inputs, output.shape)
    return [end if node is output else node for node in nodes if node is not last]


def affine_as_depthwise(node):
    """An Affine as the equal 1x1 depthwise convolution, because the toolkit does not know Rescaling."""
    if node.kind != "Affine":
        return node
    weights = {"kernel": np.reshape(node.weights["scale"], (1, 1, -1, 1)), "bias": node.weights["shift"]}
    return Node(node.name, "DepthwiseConv2D", node.inputs, node.shape, attributes={"kernel_size": 1}, weights=weights)


class AwareNet:
    """A net in training.

    Attributes:
        model: The model that `fit` trains.
        wrappers: {name of a node: its layer in `model`}.
        teacher: The net before the training.
    """

    callbacks = ()

    def __init__(self, nodes):
        import tf_keras

        self.float_model, self.teacher = (emit(nodes, library=tf_keras) for _ in range(2))
        self.trained = [node for node in nodes if node.kind in WEIGHTED and not is_constant(node)]
        names = {node.name for node in self.trained}
        for layer in self.float_model.layers:
            layer.trainable = layer.name in names

    def arrays(self):
        """{node/key: array} of the present weights of all layers that were trained."""
        found = {}
        for node in self.trained:
            # By name: the toolkit puts rounded tensors in the place of a layer's own `kernel`.
            variables = {variable.name.split("/")[-1]: variable for variable in self.wrappers[node.name].weights}
            kernel = "depthwise_kernel:0" if node.kind == "DepthwiseConv2D" else "kernel:0"
            found[f"{node.name}/kernel"] = variables[kernel].numpy()
            if "bias" in node.weights:
                found[f"{node.name}/bias"] = variables["bias:0"].numpy()
        return found

    def may_keep(self, done):
        """Whether weights after this share of the training may be the result."""
        return True


class Rounded(AwareNet):
    """Rounds every weight and activation to int8 in the forward pass; the ranges start with calibrated values."""

    def __init__(self, nodes, train):
        super().__init__(nodes)
        from tensorflow_model_optimization.quantization import keras as quantization

        self.model = quantization.quantize_model(self.float_model)
        self.wrappers = {layer.layer.name: layer for layer in self.model.layers if hasattr(layer, "layer")}
        self._calibrate(train)

    def _calibrate(self, train):
        """Sets every range to the values that `CALIBRATION` training images reach in the float net."""
        import tf_keras

        from resdense_keras.data.splits import spread

        images = train.array(np.sort(spread(train.labels, 0)[:CALIBRATION])).astype("float32")
        layers = self.float_model.layers
        outputs = tf_keras.Model(self.float_model.inputs, [layer.output for layer in layers])(images, training=False)
        ranges = {
            layer.name: (out.numpy().min(), out.numpy().max()) for layer, out in zip(layers, outputs, strict=True)
        }
        for layer in self.model.layers:
            name = layer.layer.name if hasattr(layer, "layer") else layers[0].name
            for variable in layer.weights:
                end = variable.name.removesuffix(":0")[-4:]
                if end in ("_min", "_max") and "kernel" not in variable.name:
                    variable.assign(ranges[name][end == "_max"])


class Sparse(AwareNet):
    """Holds the smallest weights of kernels at zero, and more of them as the training goes on."""

    def __init__(self, nodes, method):
        super().__init__(nodes)
        import tf_keras
        from tensorflow_model_optimization.sparsity import keras as sparsity

        rising = max(1, int(SPARSE_AT * -(-method.images // method.batch_size)))
        every = max(1, rising // 20)  # the toolkit looks only at whole multiples, so the end must be one
        self.callbacks = (sparsity.UpdatePruningStep(),)
        # A depthwise kernel that was a batch norm has one weight per channel; none can be removed.
        kernels = [node for node in self.trained if node.kind in ("Conv2D", "Dense")]
        shares = sparsities({node.name: node.weights["kernel"] for node in kernels}, method.sparsity)

        def wrap(layer):
            if not shares.get(layer.name):
                return layer
            end = rising // every * every
            schedule = sparsity.PolynomialDecay(0.0, shares[layer.name], 0, end, frequency=every)
            return sparsity.prune_low_magnitude(layer, schedule)

        self.model = tf_keras.models.clone_model(self.float_model, clone_function=wrap)
        self.wrappers = {getattr(layer, "layer", layer).name: layer for layer in self.model.layers}
        for name, wrapper in self.wrappers.items():
            getattr(wrapper, "layer", wrapper).set_weights(self.float_model.get_layer(name).get_weights())

    def arrays(self):
        """`AwareNet.arrays`, masked again, because the optimizer's last step has also moved the zeros."""
        found = super().arrays()
        for name, wrapper in self.wrappers.items():
            for _, mask, _ in getattr(wrapper, "pruning_vars", ()):
                found[f"{name}/kernel"] = found[f"{name}/kernel"] * mask.numpy()
        return found

    def may_keep(self, done):
        return done > SPARSE_AT


def sparsities(kernels, share):
    """{name: share of zeros} for the kernels {name: array}, so that `share` of all their weights is zero.

    A weight's score is its square over the sum of the squares of its kernel's weights that are not smaller, so kernels
    of any scale compare and none loses its largest weight; the lowest scores of all go (LAMP: Lee et al. 2021,
    arXiv:2010.07611, section 3). Weights that are zero already stay so.
    """
    scores = {}
    for name, kernel in kernels.items():
        squares = np.sort(np.square(kernel, dtype="float64"), axis=None)
        scores[name] = squares / np.maximum(np.cumsum(squares[::-1])[::-1], np.finfo("float64").tiny)
    limit = np.quantile(np.concatenate(list(scores.values())), share)
    return {name: min(float(np.mean(values <= limit)), 1 - 1 / values.size) for name, values in scores.items()}


def is_constant(node):
    """Whether a kernel was made by a pass and is not trained: that of a pooling, an identity or the normalisation."""
    return np.unique(node.weights["kernel"]).size <= 3 and node.kind != "Dense"


def unlike(taught, logits):
    """Cross-entropy of the net's and the teacher's (N, classes) logits at `TEMPERATURE`."""
    import tensorflow as tf

    return tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(taught / TEMPERATURE), logits / TEMPERATURE)


def _train(net, method, train, validation, job):
    """{node/key: array} of the weights whose outputs on validation images are nearest to the original net's; the
    initial weights take part.

    The net itself is the teacher (Hinton et al. 2015, arXiv:1503.02531): a file should answer as the net does, and the
    net's probabilities say more about that than labels. Labels would also say nothing on validation images that the net
    has learnt by heart.
    """
    import tf_keras

    from resdense_keras import data

    tf_keras.utils.set_random_seed(job["seed"])
    steps = -(-method.images // method.batch_size)
    net.model.compile(
        tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.CosineDecay(method.learning_rate, steps)),
        unlike,
        metrics=[tf_keras.metrics.CategoricalAccuracy()],
    )

    def taught(images, labels):
        return images, net.teacher(images, training=False)

    epochs = -(-steps * method.batch_size // len(train))
    changing = _augmentation(train, job)
    held = data.pipeline(validation, 2 * method.batch_size, shuffle=False).map(taught)
    best, smallest = None, np.inf
    ends = [round(steps * part / method.rounds) for part in range(method.rounds + 1)]
    for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if end > begin:
            # Not one iterator for all rounds: `fit` takes more batches from it than it trains on.
            batches = data.pipeline(
                train, method.batch_size, seed=job["seed"], epochs=epochs, first_step=begin, **changing
            )
            net.model.fit(batches.take(end - begin).map(taught), callbacks=list(net.callbacks), verbose=0)
        loss, agreement = net.model.evaluate(held, verbose=0)
        if not all(np.isfinite(array).all() for array in net.arrays().values()):
            raise SystemExit(f"a weight is not finite after {end} steps at learning rate {method.learning_rate:g}")
        if loss < smallest and net.may_keep(end / steps):
            best, smallest = net.arrays(), loss
        print(f"{number} of {method.rounds}: {agreement:.4f} of the validation images as before", flush=True)
    return best


def _augmentation(train, job):
    """{"augment", "crop"} for `data.pipeline`, as in the net's own training."""
    from types import SimpleNamespace

    from resdense_keras.training import augmentation, recipe

    asked = recipe("fast", augment=tuple(job["augment"]))
    dataset = SimpleNamespace(train=train, spec=job["spec"], mirror=job["mirror"], image_shape=train.image_shape)
    return {
        "augment": augmentation.augment(asked, dataset, job["rules"]),
        "crop": augmentation.crop_files(asked, dataset),
    }


def _read_split(folder, name, fields):
    from resdense_keras.data import Split

    images = folder / f"{name}-images.npy"
    return Split(
        labels=np.load(folder / f"{name}-labels.npy"),
        indices=np.load(folder / f"{name}-indices.npy"),
        image_shape=tuple(fields["image_shape"]),
        images=np.load(images) if images.exists() else None,
        paths=fields["paths"] and tuple(map(Path, fields["paths"])),
        resize=fields["resize"],
    )


if __name__ == "__main__":
    main(sys.argv[1])

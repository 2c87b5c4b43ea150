"""Which ResNet is this, and what other people's weights are worth on a folder of one's own.

Behind lesson 7. The layouts are compared on nets of two blocks. The stand-in for one's own folder is made from
scikit-learn's digits, upright or turned by a quarter: a task that the shipped digits nets know, and one they do not.
"""

import functools
import tempfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from ... import data
from ...builder import check_choice
from ...catalog import create
from ...errors import RequestError
from ...resnets import resnet
from ...weights import load_weights
from ..lesson import COLORS, NotYet, exercise

VARIANTS = ("v1", "v1.5", "v2", "vd")
NETS = {"residual": "resnet20_digits", "dense": "densenet_bc28_6_digits"}  # as large as each other
SIZE = 8  # pixels, what the shipped digits nets take
BATCH = 16
EPOCHS = 24


# The layouts


def small(variant, *, shape=(32, 32, 3), **options):
    """A ResNet of two bottleneck blocks, the second of which halves the image: the layout and little else."""
    check_choice("variant", variant, VARIANTS)
    sizes = {"blocks": (1, 1), "block": "bottleneck", "width": 8, "input_shape": shape, "classes": 10}
    return resnet(variant=variant, **sizes, **options)


class Layout(NamedTuple):
    """The features that tell layouts apart, read from a net's graph.

    `stride` is the convolution of the second stage that halves the image, `first` is what a block's branch begins with,
    `stem` the number of convolutions before the first block, `shortcut` what its projection begins with, and
    `last_norm` whether a batch norm follows the last block.
    """

    stride: str
    first: str
    stem: int
    shortcut: str
    last_norm: bool


def layout(model):
    """The `Layout` of a net from `small`."""
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    halving = [conv.name for conv in convolutions if conv.name.startswith("stage2_block1_conv") and conv.strides[0] > 1]
    names = [layer.name for layer in model.layers]
    starts_with_norm = names.index("stage1_block1_bn1") < names.index("stage1_block1_conv1")
    pooled = any(name.startswith("stage2_block1_shortcut") and "pool" in name for name in names)
    return Layout(
        stride=" ".join(name.removeprefix("stage2_block1_") for name in halving),
        first="batch norm" if starts_with_norm else "convolution",
        stem=sum(conv.name.startswith("stem_") for conv in convolutions),
        shortcut="average pooling" if pooled else "1x1 with stride",
        last_norm="head_bn" in names,
    )


def tensors(model):
    """{"layer/variable": shape} of all weights, which is all that a file of weights shows."""
    return {"/".join(weight.path.split("/")[-2:]): tuple(weight.shape) for weight in model.weights}


def answer_to_foreign_weights(saved, built):
    """What `load_weights` says when a file of the layout `saved` is loaded into a net of the layout `built`.

    Returns:
        The error's hint, or None where it loads.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.weights.h5"
        small(saved).save_weights(path)
        try:
            load_weights(small(built), path)
        except RequestError as problem:
            return problem.hint
    return None


@functools.cache
def accuracies_of_one_file(trained, built, *, epochs=6):
    """(test accuracy of a net that was trained on digits, that of the same weights in another layout).

    Args:
        trained, built: Layouts with equal tensors, "v1" and "v1.5".
    """
    from .. import small_nets

    options = {"shape": (8, 8, 1), "stem": "cifar", "classifier_activation": None}
    first, second = small(trained, **options), small(built, **options)
    training, test = small_nets.digits()
    small_nets.RepeatedTraining(first, training).run(epochs=epochs)
    second.set_weights(first.get_weights())
    return tuple(float(small_nets.hits(test.labels, net(test.images, training=False))) for net in (first, second))


# A folder of one's own


def write_digits(folder, *, per_class=5, tests_per_class=24, quarter_turns=0):
    """Writes a folder of images: train/ and test/ with one folder per class, 8x8 PNGs.

    They are test images of `data.load("digits")`, which the shipped nets were not trained on, turned if asked to.

    Returns:
        `folder`.
    """
    from PIL import Image

    split = data.load("digits").test
    for digit in range(10):
        images = split.array()[split.labels == digit][: per_class + tests_per_class, ..., 0]
        for number, image in enumerate(images):
            place = Path(folder) / ("train" if number < per_class else "test") / f"class_{digit}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rot90(image, quarter_turns).copy()).save(place / f"{number:03}.png")
    return folder


class Folder(NamedTuple):
    """Grey images (N, 8, 8, 1) float32 in [0, 255] and labels, for training and for the test, and the class names."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple


def load_folder(folder):
    """A folder of class folders, brought to the size and the one channel of the shipped digits nets.

    Raises:
        SystemExit: the folder cannot be used; says why and what to do, as the command line would.
    """
    try:
        found = data.load(str(folder), image_size=SIZE)
    except RequestError as problem:
        raise SystemExit(f"{problem.message}\nhint: {problem.hint}") from None
    training = [found.train, found.validation]
    images = np.concatenate([split.array() for split in training])
    labels = np.concatenate([split.labels for split in training])
    return Folder(_grey(images), labels, _grey(found.test.array()), found.test.labels, found.class_names)


def _grey(images):
    return images.mean(axis=-1, keepdims=True).astype("float32")


class NewHead:
    """A shipped net with a new head for a folder's classes; `run` trains it from its weights or from fresh ones.

    SGD with Nesterov's momentum under a cosine from 0.05, the same for both. `nets` has a net's name for each family,
    and `weights` is the set of weights that ships for them.
    """

    def __init__(self, family, folder, epochs=EPOCHS, nets=NETS, weights="digits"):
        check_choice("family", family, tuple(nets))
        self.folder, self.epochs = folder, epochs
        self._body = create(nets[family], weights=weights, include_top=False, pooling="avg", include_preprocessing=True)
        self._shipped = self._body.get_weights()
        head = keras.layers.Dense(len(folder.class_names), activation="softmax", name="predictions")
        self.model = keras.Model(self._body.input, head(self._body.output), name=family)
        rate = keras.optimizers.schedules.CosineDecay(0.05, -(-epochs * len(folder.labels) // BATCH))
        sgd = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
        self.model.compile(sgd, "sparse_categorical_crossentropy", jit_compile=False)

    def run(self, *, transfer, seed=0):
        """Test accuracy after the training, 0 to 1; `transfer` begins with the shipped weights."""
        from .. import small_nets

        small_nets.draw(self.model, seed)
        if transfer:
            self._body.set_weights(self._shipped)
        for variable in self.model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        random = np.random.default_rng(seed)
        order = np.concatenate([random.permutation(len(self.folder.labels)) for _ in range(self.epochs)])
        # One fit over all epochs' images: Keras starts once, and the order is ours.
        self.model.fit(self.folder.images[order], self.folder.labels[order], batch_size=BATCH, shuffle=False, verbose=0)
        probabilities = keras.ops.convert_to_numpy(self.model(self.folder.test_images, training=False))
        return float(np.mean(probabilities.argmax(axis=1) == self.folder.test_labels))


@functools.cache
def folder(which):
    """The `Folder` at a path, or a stand-in: "upright" (digits as they are) or "turned" (by a quarter).

    Stand-ins are written as images to a temporary folder and read from there, as a folder of one's own is.
    """
    if which not in ("upright", "turned"):
        return load_folder(which)
    with tempfile.TemporaryDirectory() as place:
        return load_folder(write_digits(place, quarter_turns=int(which == "turned")))


@functools.cache
def accuracies(family, which, *, transfer, seeds=3):
    """Test accuracies of a family on `folder(which)`, one per seed; `transfer` begins with the shipped weights."""
    shared = _training(family, which)
    return tuple(shared.run(transfer=transfer, seed=seed) for seed in range(seeds))


@functools.cache
def _training(family, which):
    return NewHead(family, folder(which))


def draw_transfer(figure, results):
    """Test accuracy from fresh and from shipped weights, a panel a folder: the mean, and the range over the seeds.

    Args:
        figure: Empty matplotlib Figure.
        results: {(family, folder, transfer): accuracies}.
    """
    folders = list(dict.fromkeys(which for _, which, _ in results))
    panels = np.atleast_1d(figure.subplots(len(folders), 1, sharey=True))
    for axes, which in zip(panels, folders, strict=True):
        own = {(family, transfer): found for (family, place, transfer), found in results.items() if place == which}
        for place, ((family, transfer), found) in enumerate(own.items()):
            percent = 100 * np.array(found)
            mean, spread = percent.mean(), [[percent.mean() - percent.min()], [percent.max() - percent.mean()]]
            axes.bar(place, mean, color=COLORS[family], alpha=0.75 if transfer else 0.35)
            axes.errorbar(place, mean, spread, color="black", capsize=4)
            axes.annotate(f"{mean:.0f}", (place, 2), ha="center", fontweight="bold")
        names = [f"{family}\n{'shipped' if transfer else 'fresh'}" for family, transfer in own]
        axes.set(title=Path(which).name, xticks=range(len(names)), ylim=(0, 100))
        axes.set_xticklabels(names)
        axes.grid(False, axis="x")
        axes.set_ylabel("test accuracy (%)")


# Exercises of lesson 7


@exercise
def check_recognize(recognize):
    """`recognize(tensors)`: {"layer/variable": shape} -> "v1 or v1.5", "v2" or "vd"."""
    for variant in VARIANTS:
        right = "v1 or v1.5" if variant in ("v1", "v1.5") else variant
        answer = recognize(tensors(small(variant)))
        if answer != right:
            raise NotYet(f"for the tensors of a {variant} net it gave {answer!r}, not {right!r}")


@exercise
def check_halvings(halvings):
    """`halvings(model)`: by what the head's maps are smaller than the image, read from the strides of one path."""
    for stem, right in (("cifar", 2), ("imagenet", 8)):
        answer = halvings(small("v1.5", stem=stem))
        if answer != right:
            raise NotYet(f"with the {stem} stem it gave {answer}, not {right}")


@exercise
def check_frozen(freeze):
    """`freeze(model)`: only the head stays trainable, batch norms included among the frozen."""
    model = small("v1.5")
    freeze(model)
    left = [weight.path for weight in model.trainable_weights]
    if left != ["predictions/kernel", "predictions/bias"]:
        first = ", ".join(left[:3]) or "nothing"
        raise NotYet(f"{len(left)} weights are still trained: {first}; only the head's two should be")

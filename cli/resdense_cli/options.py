"""Options that several commands share."""

import copy
import math
from pathlib import Path
from typing import Annotated, get_args

import typer

from resdense_keras.errors import RequestError, WorkError
from resdense_keras.training.augmentation import AUGMENTATIONS

NONE = "none"  # removes a value of a config.yaml or a recipe
SPECS = (  # what --data takes
    "digits, fashion_mnist, cifar10, cifar100, a .npz file (x_train, y_train, x_test, y_test) or a folder of images "
    "(docs/images.md)"
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output folder as soon as the new one is complete.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Option of the builder, such as growth_rate=24. Repeat the flag for several. Default: none.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Weights: a name from the column `weights` of `resdense models`, or a file. Default: random for a name, "
        "its own for a file.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        min=1,
        help="Side of the images in pixels, for photos of several sizes. Default: from the model.",
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        "--resize",
        help="How a photo is brought to the model's size: crop (cuts the edges off), stretch or pad. "
        "Default: crop, or what the model was trained with.",
    ),
]
Count = Annotated[
    str | None,
    typer.Option(
        "--count",
        metavar="COMMAND",
        help="Command that is run as `COMMAND FILE.tflite` for each file. The last word that it prints must be a "
        "number above 0: the millions of Arm instructions of one inference. Default: not counted.",
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option("--out", metavar="RUN", help="Folder to write the run into. Required unless --show is given."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in this folder from its last checkpoint.")]
SaveSeconds = Annotated[
    float,
    typer.Option("--save-seconds", min=0, help="Seconds between checkpoints, or more where saving takes long."),
]
Devices = Annotated[
    str | None,
    typer.Option(
        "--devices", metavar="N|all", help="Number of this machine's devices that share each batch. Default: one."
    ),
]
Preprocessing = Annotated[
    str | None,
    typer.Option(
        "--preprocessing",
        help="Pixels that the model expects: 0..1 (x / 255); -1..1 (x / 127.5 - 1); imagenet (RGB by ImageNet's mean "
        "and deviation: torchvision, timm, Keras' DenseNet); imagenet-caffe (BGR less the mean: Keras' ResNet); "
        "MODEL/WEIGHTS, such as resnet50/imagenet (what those weights were trained with); or none for [0, 255]. "
        "Default: read from the model.",
    ),
]
Deterministic = Annotated[
    bool | None,
    typer.Option(
        "--deterministic/--no-deterministic",
        show_default=False,
        help="Make two runs of the same command equal to the bit: TensorFlow then runs one operation at a "
        "time. Default: off.",
    ),
]
OnBadImage = Annotated[
    str | None,
    typer.Option(
        "--on-bad-image",
        show_default=False,
        help="What to do with an unreadable image: fail, or skip (at most 1 % of the images). Default: fail.",
    ),
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Images per step. Default: from the recipe.")
]
LearningRate = Annotated[
    float | None,
    typer.Option("--learning-rate", help="Highest learning rate of the schedule. Default: from the recipe."),
]
Augment = Annotated[
    str | None,
    typer.Option(
        "--augment",
        metavar="LIST",
        help="Comma-separated list of "
        + ", ".join(f"{name} ({row.about})" for name, row in AUGMENTATIONS.items())
        + f"; or {NONE}. Default: from the recipe.",
    ),
]


def in_panels(command, panels):
    """Gives each parameter of a command's function the panel of `--help` that {panel: names} says.

    The option is copied, because other commands may share it.
    """
    for panel, parameters in panels.items():
        for name in parameters:
            kind, option = get_args(command.__annotations__[name])
            option = copy.copy(option)
            option.rich_help_panel = panel
            command.__annotations__[name] = Annotated[kind, option]


def names(text):
    """--augment for a recipe: ("shift", "mirror") from "shift, mirror", () from "none", None from None."""
    if text is None:
        return None
    return () if text == NONE else tuple(name.strip() for name in text.split(","))


def counting(command):
    """Function of a file that returns the last number that `command FILE` prints; None without a command.

    Raises:
        WorkError: the command fails or prints no number above zero.
    """
    import shlex
    import subprocess

    if not command:
        return None

    def count(path):
        try:
            run = subprocess.run([*shlex.split(command), str(path)], capture_output=True, text=True, check=True)
            found = float(run.stdout.split()[-1])
            if not 0 < found < math.inf:
                raise ValueError(f"it printed {found}")
            return found
        except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
            raise WorkError(f"--count {command} {path}: {' '.join(said)[:200]}", "it must print a number") from error

    return count


def builder_options(settings):
    """{"growth_rate": 24} from ["growth_rate=24"]; values are YAML, so that 0.5, true, null and [6, 12] work."""
    import yaml

    parsed = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise RequestError(f"--set {setting!r} was given; it takes NAME=VALUE", "for example --set growth_rate=24")
        try:
            parsed[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise RequestError(
                f"--set {setting!r} was given; the value is not a number, true, false, null or a list"
            ) from None
    return parsed

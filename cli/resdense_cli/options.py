"""Options that several commands share."""

from typing import Annotated

import typer

from resdense_keras.errors import RequestError

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output folder once the new one is whole.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A builder option, such as growth_rate=24; repeatable."),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", min=1, help="Side in pixels, for folders of images of several sizes.")
]
Resize = Annotated[
    str | None,
    typer.Option("--resize", help="How photos come to the net's size: crop (cuts the edges off), stretch or pad."),
]
Deterministic = Annotated[
    bool | None,
    typer.Option(
        "--deterministic/--no-deterministic",
        help="Repeat to the bit, at the cost of some speed: TensorFlow runs one operation at a time.",
    ),
]
OnBadImage = Annotated[str | None, typer.Option("--on-bad-image", help="fail, or skip up to 1 % unreadable images.")]


def builder_options(settings):
    """{"growth_rate": 24} of ["growth_rate=24"]; values are YAML, so that 0.5, true, null and [6, 12] work."""
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

"""`resdense compare`: both families on the same data, from training to the report."""

from pathlib import Path
from typing import Annotated

import typer

from resdense_export.pipeline import DEFAULT_MODELS
from resdense_export.progress import steps
from resdense_keras import files

from ..options import (
    SPECS,
    Augment,
    Deterministic,
    ImageSize,
    Json,
    OnBadImage,
    Overwrite,
    Resize,
    Settings,
    builder_options,
    names,
)
from ..output import report_of_failure, show_report, start_tensorflow

ORDER = 70


def command(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL...]", help=f"Names from `resdense models`. Default: {' '.join(DEFAULT_MODELS)}."
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="SPEC",
            help=f"Data: {SPECS}.",
        ),
    ] = "digits",
    out: Annotated[Path, typer.Option("--out", help="Folder to write the report and the bundles into.")] = Path(
        "resdense-report"
    ),
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Number of passes over the training images. Default: from the recipe."),
    ] = None,
    augment: Augment = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Number of trainings per net, each with a seed of its own.")
    ] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="First seed; the net trained with it is exported.")] = 0,
    image_size: ImageSize = None,
    on_bad_image: OnBadImage = "fail",
    resize: Resize = None,
    deterministic: Deterministic = False,
    overwrite: Overwrite = False,
    settings: Settings = None,
    as_json: Json = False,
):
    """Train both families on the same data, export, check and measure them, and write a report."""
    files.check_writable(out)  # refuse now, because TensorFlow takes seconds to load
    start_tensorflow()
    from resdense_export import pipeline

    models = models or list(DEFAULT_MODELS)
    with report_of_failure(out, as_json), steps(pipeline.count_steps(len(models), seeds)) as progress:
        report = pipeline.compare(
            models,
            out,
            data=data,
            epochs=epochs,
            augment=names(augment),
            seeds=seeds,
            seed=seed,
            options=builder_options(settings),
            image_size=image_size,
            on_bad_image=on_bad_image,
            resize=resize,
            deterministic=bool(deterministic),
            overwrite=overwrite,
            steps=progress,
        )
    show_report(report, out, as_json)

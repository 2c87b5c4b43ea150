"""`resdense export`: a model as checked and measured .tflite files."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from resdense_export.bundle.request import ExportRequest
from resdense_export.limits import Limits
from resdense_export.progress import steps
from resdense_export.schemes import SCHEMES, standard_schemes
from resdense_keras.data import resizing

from ..options import ImageSize, Json, OnBadImage, Overwrite, Resize, Settings, builder_options
from ..output import report_of_failure, say_data, show_report, start_tensorflow

ORDER = 40
TRAINED = [name for name, row in SCHEMES.items() if row.training]


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_FILE", help="A name from `resdense models`, or a .keras or .h5 file.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle.")],
    weights: Annotated[str | None, typer.Option("--weights", help="A set of weights by name, or a file.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="SPEC", help="Calibrates on train, judges on test.")
    ] = None,
    schemes: Annotated[
        str | None,
        typer.Option(
            "--schemes",
            help=f"Of {','.join(standard_schemes())} (the default; without --data {','.join(standard_schemes(False))})"
            f", and {','.join(TRAINED)}, which train on.",
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="Points of top-1 that a file may lose.")
    ] = Limits.max_drop,
    min_agreement: Annotated[
        float, typer.Option("--min-agreement", help="Least share of the rightly answered images that stay right.")
    ] = Limits.min_agreement,
    strict: Annotated[
        bool, typer.Option("--strict", help="Judge the figures as measured, without the 95 % interval's benefit.")
    ] = False,
    labels: Annotated[Path | None, typer.Option("--labels", help="File with a class name a line.")] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(
            "--preprocessing", help="What a model takes for pixels: imagenet, MODEL/WEIGHTS ..., none: [0, 255]."
        ),
    ] = None,
    softmax: Annotated[bool, typer.Option("--softmax", help="Put a softmax behind a model that lacks it.")] = False,
    input_type: Annotated[str, typer.Option("--input", help="float32, or uint8 for camera frames.")] = "float32",
    budget: Annotated[
        float | None, typer.Option("--budget", help="Points that int8 may lose; sensitive layers stay float for it.")
    ] = None,
    image_size: ImageSize = None,
    on_bad_image: OnBadImage = "fail",
    resize: Resize = None,
    baseline: Annotated[bool, typer.Option("--baseline", help="Also make the stock converter's files.")] = False,
    overwrite: Overwrite = False,
    settings: Settings = None,
    as_json: Json = False,
):
    """Turn a model into checked and measured .tflite files with a report."""
    if resize is not None:
        resizing.check(resize)
    request = ExportRequest(
        out,
        schemes and [name.strip() for name in schemes.split(",")],
        has_data=data is not None,
        limits=Limits(max_drop, min_agreement, strict),
        input_type=input_type,
        budget=budget,
        baseline=baseline,
        overwrite=overwrite,
    )
    request.check_place()
    start_tensorflow()
    from resdense_export import pipeline, sources

    net = sources.model(model, weights, builder_options(settings), image_size, preprocessing, softmax)
    dataset = sources.dataset(data, net, image_size, on_bad_image, resize) if data else None
    net = replace(net, class_names=sources.class_names(net, dataset, labels), resize=resize or net.resize)
    if dataset:
        say_data(dataset)
        request = request.with_images(len(dataset.train))
    with report_of_failure(out, as_json), steps(request.steps + 1) as progress:
        report = pipeline.export_net(net, request, dataset, progress)
    show_report(report, out, as_json)

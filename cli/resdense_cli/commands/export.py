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

from ..options import (
    SPECS,
    ImageSize,
    Json,
    OnBadImage,
    Overwrite,
    Preprocessing,
    Resize,
    Settings,
    Weights,
    builder_options,
)
from ..output import report_of_failure, say_data, show_report, start_tensorflow

ORDER = 40
TRAINED = [name for name, row in SCHEMES.items() if row.training]


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_FILE", help="Name from `resdense models`, or a .keras or .h5 file.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write the bundle into.")],
    weights: Weights = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SPEC",
            help=f"Images: {SPECS}. The training split calibrates, the test split judges. Default: generated images.",
        ),
    ] = None,
    schemes: Annotated[
        str | None,
        typer.Option(
            "--schemes",
            help=f"Comma-separated list of {', '.join(SCHEMES)}. {' and '.join(TRAINED)} train the net further. "
            f"Default: {','.join(standard_schemes())}, or without --data {','.join(standard_schemes(False))}.",
        ),
    ] = None,
    max_drop: Annotated[
        float,
        typer.Option(
            "--max-drop",
            help="Percentage points (0 to 100) of top-1 accuracy that a file may lose against the float model; see "
            "--strict.",
        ),
    ] = Limits.max_drop,
    min_agreement: Annotated[
        float,
        typer.Option(
            "--min-agreement",
            help="Of the images that the float model answers rightly, the share (0 to 1) that the file must too.",
        ),
    ] = Limits.min_agreement,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Judge the measured figures themselves. Default: a file fails only when its whole 95 % interval is "
            "beyond the limit.",
        ),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Text file with one class name per line. Default: the names in the model or the data."
        ),
    ] = None,
    preprocessing: Preprocessing = None,
    softmax: Annotated[bool, typer.Option("--softmax", help="Add a softmax after the model's output.")] = False,
    input_type: Annotated[
        str, typer.Option("--input", help="Type of the input tensor: float32, or uint8 for camera frames.")
    ] = "float32",
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            help="Percentage points (0 to 100) of accuracy that int8 should lose at most. As many sensitive layers as "
            "that takes stay in float. A part of the test images decides, only the others judge the file. "
            "Default: all layers in int8.",
        ),
    ] = None,
    image_size: ImageSize = None,
    on_bad_image: OnBadImage = "fail",
    resize: Resize = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also make the files of TensorFlow's own converter, to compare with.")
    ] = False,
    overwrite: Overwrite = False,
    settings: Settings = None,
    as_json: Json = False,
):
    """Turn a model into checked and measured .tflite files with a report."""
    if resize is not None:
        resizing.check(resize)
    request = ExportRequest(
        out,
        None if schemes is None else [name.strip() for name in schemes.split(",") if name.strip()],
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

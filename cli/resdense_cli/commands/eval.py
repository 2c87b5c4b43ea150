"""`resdense eval`: accuracy, confusion and calibration on the test images."""

from pathlib import Path
from typing import Annotated

import typer

from resdense_keras import files
from resdense_keras.errors import RequestError

from ..options import SPECS, ImageSize, Json, OnBadImage, Preprocessing, Resize, Settings, Weights, builder_options
from ..output import columns, print_result, say_data, start_tensorflow, tell

ORDER = 30
MOST_ROWS = 20  # classes that a terminal shows; --json has all
MOST_NAMES = 30  # classes whose names fit beside the matrix
MOST_COUNTED = 12  # classes whose cells have room for a number
PLOTS = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp")


def command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL_OR_FILE", help="Name from `resdense models`, or a .keras, .h5 or .tflite file."),
    ],
    data: Annotated[
        str, typer.Option("--data", metavar="SPEC", help=f"Images, of which the test split is used: {SPECS}.")
    ],
    weights: Weights = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw the confusion matrix into this .png file (or .svg, .pdf, .jpg). Default: no plot.",
        ),
    ] = None,
    image_size: ImageSize = None,
    on_bad_image: OnBadImage = "fail",
    resize: Resize = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Images per step. Default: as in the training, or 32.")
    ] = None,
    preprocessing: Preprocessing = None,
    settings: Settings = None,
    as_json: Json = False,
):
    """Measure accuracy, confusion and calibration of a model on the test images."""
    if plot is not None:
        _check_plot(plot)
    start_tensorflow()
    from resdense_export import sources
    from resdense_export.judging import on_data
    from resdense_export.models import answers
    from resdense_keras.training import evaluation

    if model.lower().endswith(".tflite"):
        for flag, given in (("--weights", weights), ("--set", settings), ("--preprocessing", preprocessing)):
            if given:
                raise RequestError(f"{flag} was given with the file {model}; it belongs to a Keras model")
        result = on_data.evaluate_file(Path(model), data, image_size, on_bad_image, resize)
        _show(result, plot, as_json)
        return
    net = sources.model(model, weights, builder_options(settings), image_size, preprocessing)
    dataset = sources.dataset(data, net, image_size, on_bad_image, resize)
    classes = answers.classes(net.answers, net.model.output_shape[-1])
    if classes is None:
        message = f"{model}: its output {net.model.output_shape} is not known to be classes"
        raise RequestError(message, sources.way_to_classes(net.model))
    if not net.takes_pixels:
        tell(f"note: {sources.UNKNOWN_PIXELS.format(name=net.name)}")
    dataset.check_outputs(classes)
    names = sources.class_names(net, dataset)
    say_data(dataset)
    batch_size = batch_size or net.batch_size or evaluation.BATCH
    _show(evaluation.evaluate(net.model, dataset.test, names, batch_size), plot, as_json)


def _check_plot(path):
    """Refuses before the long work a file that cannot be drawn or written."""
    if path.suffix.lower() not in PLOTS:
        given = f"ends in {path.suffix}" if path.suffix else "has no suffix"
        message = f"--plot {path} {given}; a plot is written as {', '.join(PLOTS)}"
        raise RequestError(message, f"for example --plot {path.with_suffix('.png')}" if path.name else None)
    if path.is_dir():
        raise RequestError(f"--plot {path} is a folder", "choose another name")
    files.check_writable(path)


def _show(result, plot, as_json):
    if plot is not None:
        draw(plot, result)
        tell(f"confusion matrix: {plot}")
    print_result(result, table, as_json)


def table(result):
    """The figures for a terminal: first overall, then by class; of many classes the worst ones."""
    found = columns("", ">")
    found.add_row("images", f"{result['images']:,}")
    found.add_row("top-1", f"{result['accuracy']:.2%}")
    if len(result["per_class"]) > 5:  # else every answer is among the first five
        found.add_row("top-5", f"{result['top5']:.2%}")
    found.add_row("calibration error: mean gap of confidence and accuracy", f"{result['calibration_error']:.2%}")
    rows = [row for row in result["per_class"] if row["images"]]
    if len(rows) > MOST_ROWS:
        rows = sorted(rows, key=lambda row: row["accuracy"])[:MOST_ROWS]
        found.add_row(f"the {MOST_ROWS} worst of {len(result['per_class'])} classes", "")
    for row in rows:
        found.add_row(f"  {_name(row)}", f"{row['accuracy']:.2%}")
    return found


def draw(path, result):
    """Draws the confusion matrix: colours are shares of the class, numbers count images."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.array(result["confusion"], float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the class")
    axes.set(xlabel="answer", ylabel="class", title=f"{result['accuracy']:.2%} of {result['images']:,} images")
    if len(counts) <= MOST_NAMES:
        names = [_name(row) for row in result["per_class"]]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    if len(counts) <= MOST_COUNTED:
        for row, column in np.ndindex(counts.shape):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:,.0f}", ha="center", va="center", color=ink, fontsize=8)
    with files.writing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _name(row):
    return row["name"] or str(row["class"])

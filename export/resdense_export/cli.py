"""`resdense`: verbs over the library.

Results go to stdout (`--json` for machines), everything else to stderr. Exit 0: done; 1: the work failed; 2: the
request is wrong; 130: Ctrl-C; 143: SIGTERM. Nothing heavy is imported before a command needs it.
"""

import contextlib
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from resdense_keras import files
from resdense_keras.errors import RequestError, ResdenseError, WorkError

app = typer.Typer(
    name="resdense",
    help="ResNet and DenseNet in Keras: build, train, export to TFLite, compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

HELP = "`resdense --help` and `resdense COMMAND --help` list what there is"
PIPE_COLUMNS = 500
STOPPED = "what has its final name is whole; run the same command again"
TRAINING_STOPPED = "the run is whole; the same command with `--resume` goes on with it"
PHONE_STOPPED = "the results that phones sent are in report.json; run the same command to serve again"


class Terminated(BaseException):
    """SIGTERM, raised so that temporary files go the same way as on Ctrl-C."""


def main(arguments=None):
    """Runs the command line; returns never, exits with the codes above."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code = app(_with_address(arguments), standalone_mode=False) or 0
        if code == 130:  # typer catches Ctrl-C and says nothing
            _complain("stopped", _after_stop(arguments))
    except (KeyboardInterrupt, Terminated) as stop:
        if debug:
            raise
        code = 143 if isinstance(stop, Terminated) else 130
        _complain("stopped", _after_stop(arguments))
    except Exception as error:
        if debug:
            raise
        code = _explain(error, arguments)
    sys.exit(code)


def _after_stop(arguments):
    command = arguments[0] if arguments else None
    return {"phone": PHONE_STOPPED, "train": TRAINING_STOPPED}.get(command, STOPPED)


def _with_address(arguments):
    """Writes `--lan` without an address as `--lan=pick`: typer knows no option whose value may be left out."""
    from ipaddress import ip_address

    def is_address(text):
        try:
            return bool(ip_address(text))
        except ValueError:
            return False

    following = [*arguments[1:], ""]
    return [
        "--lan=pick" if argument == "--lan" and not is_address(after) else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


def _terminate(number, frame):
    raise Terminated


def _explain(error, arguments):
    """Prints an error as one line and its hint; the exit code."""
    if isinstance(error, ResdenseError):
        _complain(error.message, error.hint or HELP)
        return 2 if isinstance(error, RequestError) else 1
    if hasattr(error, "format_message"):  # what typer says of wrong usage
        _complain(error.format_message(), HELP)
        return 2
    if type(error).__name__ == "Abort":  # typer's own word for Ctrl-C
        _complain("stopped", _after_stop(arguments))
        return 130
    _complain(f"{type(error).__name__}: {error}", "this is a defect; --debug shows where it happened")
    return 1


def _complain(message, hint):
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)


def _warn(message, category, filename, lineno, file=None, line=None):
    """A warning in words for users: Python's own form shows a line of our source."""
    print(f"warning: {message}", file=sys.stderr)


def _quiet_tensorflow():
    """Export and training run on Keras' TensorFlow backend, without its start-up chatter."""
    import logging

    from .quiet import native_stderr

    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with native_stderr():  # some of it is written before that variable is read
        import tensorflow  # noqa: F401


def _print_table(table):
    from rich.console import Console

    # Into a pipe or a file a line is as long as it is, so that names stay whole.
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)


def _print_json(value):
    print(json.dumps(value, indent=2, allow_nan=False))


def _options(settings):
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


def _show_version(wanted: bool):
    if wanted:
        from importlib.metadata import version

        print(version("resdense-keras"))
        raise typer.Exit


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output folder once the new one is whole.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A builder option, such as growth_rate=24; repeatable."),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", min=1, help="Side in pixels, for folders of images of several sizes.")
]
OnBadImage = Annotated[str | None, typer.Option("--on-bad-image", help="fail, or skip up to 1 % unreadable images.")]


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
):
    pass


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help='Shell pattern, such as "densenet*".')] = "*",
    settings: Settings = None,
    as_json: Json = False,
):
    """What can be built, with parameters, MACs and activation memory."""
    _quiet_tensorflow()
    from . import listing, tables

    rows = listing.rows(pattern, _options(settings))
    _print_json(rows) if as_json else _print_table(tables.nets(rows))


@app.command()
def train(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A name from `resdense models`, or the config.yaml of a run.")
    ],
    data: Annotated[
        str | None, typer.Option("--data", metavar="SPEC", help="digits, cifar10, a .npz, a folder ...")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="RUN", help="Run folder.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="fast (default), paper, imagenet, finetune, compare, FILE.yaml."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe with its sources and stop.")] = False,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Default: the recipe's; and so below.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate")] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay")] = None,
    label_smoothing: Annotated[float | None, typer.Option("--label-smoothing")] = None,
    augment: Annotated[
        str | None, typer.Option("--augment", help="Of crop,shift,reflect,mirror,randaugment,mixup,cutmix; none.")
    ] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="A set of weights by name, or a file.")] = None,
    freeze: Annotated[
        str | None, typer.Option("--freeze", metavar="STAGE", help="Train only what comes after, e.g. stage3.")
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            "--held-out", metavar="SHARE", min=0.001, max=0.9, help="Of the training images, to judge the epochs: 0.1."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in this folder stopped.")] = False,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Repeat to the bit.")] = False,
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32 (the default), mixed_bfloat16 or mixed_float16.")
    ] = None,
    jit: Annotated[str | None, typer.Option("--jit", help="XLA: on, off or auto (a timed trial, default).")] = None,
    save_seconds: Annotated[float, typer.Option("--save-seconds", min=0, help="Save the state so often.")] = 60,
    devices: Annotated[
        str | None, typer.Option("--devices", metavar="N|all", help="Share every batch among devices of this machine.")
    ] = None,
    sync_batch_norm: Annotated[
        bool, typer.Option("--sync-batch-norm", help="Batch norms see the batch over all devices.")
    ] = False,
    coordinator: Annotated[
        str | None, typer.Option("--coordinator", metavar="HOST:PORT", help="Several hosts: where process 0 runs.")
    ] = None,
    process: Annotated[int | None, typer.Option("--process", help="Several hosts: number of this one, from 0.")] = None,
    processes: Annotated[int | None, typer.Option("--processes", help="Several hosts: how many.")] = None,
    image_size: ImageSize = None,
    on_bad_image: OnBadImage = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="Read every image in full first, also of 20,000 files or more.")
    ] = False,
    settings: Settings = None,
):
    """Train a net by a recipe; the run folder can be resumed to the same end."""
    from . import trainings

    if coordinator is None:
        _quiet_tensorflow()
    elif not show:
        trainings.connect(coordinator, process, processes)

    asked = trainings.request(
        model,
        recipe,
        {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "label_smoothing": label_smoothing,
            "augment": augment,
        },
        data=data,
        options=_options(settings),
        weights=weights,
        freeze=freeze,
        held_out=held_out,
        seed=seed,
        deterministic=deterministic,
        precision=precision,
        jit=jit,
        image_size=image_size,
        on_bad_image=on_bad_image,
        scan=scan,
    )
    if show:
        print(trainings.show(asked, recipe, model), end="")
        return
    before = trainings.config(model).get("devices")
    chosen = trainings.devices(devices, coordinator, process, processes, sync_batch_norm, before)
    trainings.train(asked, out, resume=resume, save_seconds=save_seconds, devices=chosen)
    print(out)


@app.command("eval")
def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_FILE", help="A name from `resdense models`, or a .keras file.")
    ],
    data: Annotated[str, typer.Option("--data", metavar="SPEC", help="Judges on its test split.")],
    weights: Annotated[str | None, typer.Option("--weights", help="A set of weights by name, or a file.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the confusion matrix.")] = None,
    image_size: ImageSize = None,
    on_bad_image: OnBadImage = "fail",
    settings: Settings = None,
    as_json: Json = False,
):
    """Accuracy, confusion and calibration of a model on the test images."""
    _quiet_tensorflow()
    from resdense_keras import files, training

    from . import evaluation, sources

    if plot is not None:
        files.check_writable(plot, need_bytes=0)
    net = sources.model(model, weights, _options(settings), image_size)
    dataset = sources.dataset(data, net.image_shape, image_size, on_bad_image)
    dataset.check_outputs(net.model.output_shape[-1])
    result = training.evaluate(net.model, dataset.test, sources.class_names(net, dataset))
    if plot is not None:
        evaluation.draw(plot, result)
    _print_json(result) if as_json else _print_table(evaluation.table(result))


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_FILE", help="A name from `resdense models`, or a .keras file.")
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
            help="Of fp32,fp16,dynamic,int8 (the default; without --data not int8), qat and pruned, which train on.",
        ),
    ] = None,
    max_drop: Annotated[float, typer.Option("--max-drop", help="Points of top-1 that a file may lose.")] = 1.0,
    min_agreement: Annotated[float, typer.Option("--min-agreement", help="Least share of equal top-1.")] = 0.98,
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
    baseline: Annotated[bool, typer.Option("--baseline", help="Also make the stock converter's files.")] = False,
    overwrite: Overwrite = False,
    settings: Settings = None,
    as_json: Json = False,
):
    """Turn a model into checked and measured .tflite files with a report."""
    from . import bundle, gates, pipeline

    gates.Limits(max_drop, min_agreement)  # refuses values that mean nothing
    chosen = bundle.schemes_for(schemes and [name.strip() for name in schemes.split(",")], data is not None)
    pipeline.check_export(out, chosen, input_type=input_type, budget=budget, overwrite=overwrite)
    _quiet_tensorflow()
    from . import sources
    from .progress import steps

    net = sources.model(model, weights, _options(settings), image_size, preprocessing, softmax)
    dataset = sources.dataset(data, net.image_shape, image_size, on_bad_image) if data else None
    with steps(len(chosen) * (1 + baseline) + 1) as progress:
        report = pipeline.export(
            net.model,
            out,
            chosen,
            name=net.name,
            dataset=dataset,
            class_names=sources.class_names(net, dataset, labels),
            preprocessing=net.preprocessing,
            input_type=input_type,
            budget=budget,
            max_drop=max_drop,
            min_agreement=min_agreement,
            baseline=baseline,
            overwrite=overwrite,
            steps=progress,
        )
    _show_report(report, out, as_json)


@app.command()
def check(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE_OR_DIR...", help=".tflite files, bundles, or folders of bundles.")
    ],
    as_json: Json = False,
):
    """Gates and manifest of .tflite files and bundles, made here or elsewhere."""
    from . import inspection, tables

    findings = inspection.inspect(paths)
    _print_json(findings) if as_json else _print_table(tables.findings(findings))
    failed = [finding["path"] for finding in findings if finding["problems"]]
    if failed:
        raise WorkError(f"{len(failed)} of {len(findings)} failed: {', '.join(failed)}", "do not ship these files")


@app.command()
def bench(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help=".tflite files.")],
    threads: Annotated[int, typer.Option("--threads", min=1)] = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=3, help="Inferences of each file that count.")] = 100,
    as_json: Json = False,
):
    """Latency on this machine: the files take turns, so that what slows the machine slows all."""
    from . import measurement, tables

    timed = measurement.measure(paths, rounds, threads)
    rows = [{"file": str(path), **measurement.describe(path), **row} for path, row in zip(paths, timed, strict=True)]
    _print_json(rows) if as_json else _print_table(tables.timings(rows))


@app.command()
def compare(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL...]", help="Names from `resdense models`.")
    ] = None,
    data: Annotated[
        str, typer.Option("--data", metavar="SPEC", help="digits, cifar10, a .npz, a folder ...")
    ] = "digits",
    out: Annotated[Path, typer.Option("--out", help="Folder of the report.")] = Path("resdense-report"),
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Default: the recipe's.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each net.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed; its weights are exported.")] = 0,
    image_size: ImageSize = None,
    on_bad_image: OnBadImage = "fail",
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Repeat to the bit.")] = False,
    overwrite: Overwrite = False,
    settings: Settings = None,
    as_json: Json = False,
):
    """Train, export, check and measure both families on the same data; the result is a report to open."""
    files.check_writable(out)  # known at once; TensorFlow takes seconds to load
    _quiet_tensorflow()
    from . import pipeline
    from .progress import steps

    models = models or list(pipeline.DEFAULT_MODELS)
    with steps(pipeline.count_steps(len(models), seeds)) as progress:
        report = pipeline.compare(
            models,
            out,
            data=data,
            epochs=epochs,
            seeds=seeds,
            seed=seed,
            options=_options(settings),
            image_size=image_size,
            on_bad_image=on_bad_image,
            deterministic=deterministic,
            overwrite=overwrite,
            steps=progress,
        )
    _show_report(report, out, as_json)


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with report.json.")]):
    """Rebuild report.html and its plots from report.json."""
    from . import report as reports

    for page in reports.rebuild(folder):
        print(page)


@app.command()
def learn(
    lesson: Annotated[str | None, typer.Argument(metavar="[LESSON]", help="Its number; without one, the list.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the plots.")] = Path("lesson-plots"),
    script: Annotated[
        bool, typer.Option("--script", help="Print the lesson's script, to work on its exercises.")
    ] = False,
    as_json: Json = False,
):
    """List the lessons, or run one here; each takes at most three minutes on two cores."""
    from . import learning, tables

    if lesson is None:
        found = learning.lessons()
        rows = [
            {"lesson": row.number, "title": row.title, "minutes": row.minutes, "file": str(row.path)} for row in found
        ]
        _print_json(rows) if as_json else _print_table(tables.lessons(rows))
        return
    chosen = learning.find(lesson)
    if script:
        print(chosen.path.read_text(encoding="utf-8"), end="")
        return
    with contextlib.suppress(ImportError):  # the lesson itself says what is missing, with the install line
        _quiet_tensorflow()
    learning.run(chosen, out)


@app.command()
def phone(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle, or a folder of bundles.")],
    lan: Annotated[
        str | None,
        typer.Option("--lan", metavar="[ADDRESS]", help="Let phones on the network in; default: picks one."),
    ] = None,
    https: Annotated[bool, typer.Option("--https", help="One-day certificate: threads and WebGPU need it.")] = False,
    usb: Annotated[bool, typer.Option("--usb", help="Let the Android phone on the cable in (adb).")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Default: a free one.")] = 0,
    runtime: Annotated[
        Path | None,
        typer.Option("--runtime", metavar="DIR", help="LiteRT.js, by `npm ci`; default: fetched once."),
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.01, help="Stop after so long.")] = None,
):
    """Serve a page that measures the files in a phone's own browser; prints its URL and QR code."""
    from .phone import command

    command.serve(folder, lan=lan, https=https, usb=usb, port=port, runtime=runtime, minutes=minutes)


def _show_report(report, out, as_json):
    from . import report as reports

    if as_json:
        _print_json(report)
        return
    _print_table(reports.terminal_table(report))
    print(out / "report.html")

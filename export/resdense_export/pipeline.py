"""`export` and `compare`: the steps of this package in their order, and the report at the end.

Data moves in one direction: spec -> tf.data -> model -> trained weights -> float .tflite -> quantized files -> gates ->
measurements -> report.
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resdense_keras import files
from resdense_keras.data import resizing
from resdense_keras.errors import RequestError, WorkError

from . import environment
from .bundle import contents
from .bundle.evidence import from_dataset, without_data
from .bundle.request import ROUNDS, ExportRequest
from .limits import WEAK_CALIBRATION, Limits
from .making.likeness import check_likeness
from .making.quantization import check_calibration
from .models import answers, fitness
from .progress import Steps
from .right_answers import right_by_class
from .schemes import SCHEMES, standard_schemes
from .sources import Net, preprocessing_inside, way_to_classes
from .tflite.timing import machine, measure

if TYPE_CHECKING:
    import keras

    from resdense_keras.data import Dataset

DEFAULT_MODELS = ("resnet20", "densenet_bc22_24", "plain20")  # the same parameters within 10 %


def export(
    model: keras.Model,
    out: str | Path,
    schemes: Sequence[str] | None = None,
    *,
    name: str | None = None,
    dataset: Dataset | None = None,
    class_names: Sequence[str] | None = None,
    preprocessing: Any = "unknown",
    input_type: str = "float32",
    budget: float | None = None,
    max_drop: float = Limits.max_drop,
    min_agreement: float = Limits.min_agreement,
    baseline: bool = False,
    overwrite: bool = False,
    rounds: int = ROUNDS,
    threads: int = 1,
    steps: Any = None,
) -> dict[str, Any]:
    """Turns a Keras model into a bundle of checked and measured .tflite files with a report.

    Args:
        model: Functional Keras model, float32 (N, H, W, C) pixels -> (N, classes) probabilities.
        out: Folder of the bundle; appears when it is whole.
        schemes: Names of SCHEMES; default: all that can be made.
        name: First part of the files' names; default: the model's name.
        dataset: data.Dataset whose train split calibrates and whose test split judges; without it int8 is refused and
            only parity is checked.
        class_names: Names of the classes; default: those of the data.
        preprocessing: The normalisation inside the net, as JSON.
        input_type: "float32", or "uint8" for camera frames.
        budget: Points of top-1 that int8 may lose; sensitive layers stay in float for it, see making.within_budget.
        max_drop, min_agreement: Limits of the gates, see Limits.
        baseline: Also the stock converter's files.
        overwrite: Replace a folder that has content.
        rounds, threads: Timed inferences per file and threads of one inference, see `measure`.
        steps: A progress.Steps.
    Returns:
        The report (the content of report.json).
    Raises:
        RequestError: a wrong argument; nothing was written.
        WorkError: a file failed a gate. The bundle was written without it, and the error's `report` says why.
    Example:
        >>> net = resdense_keras.resnet20_digits(weights="digits", include_preprocessing=True)
        >>> report = resdense_export.export(net, "bundle", dataset=data.load("digits"))
        >>> [made["scheme"] for made in report["models"][0]["exports"]]
        ['fp32', 'fp16', 'dynamic', 'int8']
    """
    request = ExportRequest(
        out,
        schemes,
        has_data=dataset is not None,
        limits=Limits(max_drop, min_agreement),
        input_type=input_type,
        budget=budget,
        baseline=baseline,
        overwrite=overwrite,
        rounds=rounds,
        threads=threads,
    )
    model = fitness.fitted(model)
    return export_net(Net(name or model.name, model, preprocessing, class_names), request, dataset, steps)


def export_net(net, request, dataset=None, steps=None):
    """`export` for a sources.Net and an ExportRequest; the same results and errors."""
    from .report import write_report

    steps = steps or Steps()
    request.check_place()
    request.check_net(net)
    net = replace(net, resize=_rule(net, dataset))
    if dataset is not None:
        request = request.with_images(len(dataset.train))
        if (classes := answers.classes(net.answers, net.model.output_shape[-1])) is not None:
            dataset.check_outputs(classes)
            net = replace(net, class_names=_one_for_each(net.class_names or dataset.class_names, classes))
        elif net.model.output_shape[1:] == (1,) and dataset.classes == 2:
            print(f"note: {net.name} gives one number, judged as such; {way_to_classes(net.model)}", file=sys.stderr)
        if classes is None and request.budget is not None:
            message = f"a budget of {request.budget:g} points was given; the model's outputs are not classes"
            raise RequestError(message, "leave --budget out")
    with files.lock(request.out), files.new_folder(request.out, overwrite=request.overwrite) as folder:
        if dataset is None:
            evidence = without_data(net.image_shape)
        else:
            evidence = from_dataset(dataset, request.seed, with_sensitivity=request.budget is not None)
            evidence = _with_checked_calibration(evidence, request)
            if not answers.has_classes(net.answers):  # nothing to compare a label with
                evidence = replace(evidence, labels=None)
        (bundle,) = _with_measurements([contents.make(folder, net, evidence, request, steps)], request, steps)
        contents.describe(bundle)
        result = _report([_model_record(bundle, bundle.exports)], dataset, evidence, request.seed)
        write_report(folder, result)
    _raise_rejected([bundle], request.out, result)
    return result


def _one_for_each(names, classes):
    """The names of so many classes; those that the data lack are their numbers, because an app looks each one up."""
    if not names or len(names) >= classes:
        return names
    more = tuple(str(number) for number in range(len(names), classes))
    print(
        f"warning: the data name {len(names)} classes, the model has {classes}: {', '.join(more[:3])}"
        f"{' ...' * (len(more) > 3)} go by their numbers in labels.txt; --labels FILE names them",
        file=sys.stderr,
    )
    return (*names, *more)


def compare(
    models: Sequence[str] | None = None,
    out: str | Path = "resdense-report",
    *,
    data: str | Path = "digits",
    epochs: int | None = None,
    augment: Sequence[str] | None = None,
    seeds: int = 3,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    image_size: int | tuple[int, int] | None = None,
    on_bad_image: str = "fail",
    resize: str | None = None,
    deterministic: bool = False,
    overwrite: bool = False,
    steps: Any = None,
) -> dict[str, Any]:
    """Trains nets on the same data, exports, checks and measures them, and writes one report: the main job.

    Args:
        models: Catalogue names; default: a ResNet, a DenseNet-BC of equal size, and the plain net.
        out: Folder of the report; appears when it is whole.
        data: Data spec.
        epochs, augment: As in a Recipe; default: those of the recipe `compare`.
        seeds: Number of trainings per net, with the seeds `seed`, `seed` + 1 ...; the weights of the first are
            exported.
        options: Builder options for every net.
        image_size, on_bad_image, resize: For image folders, see data.load; the size defaults to the nets' own.
        deterministic: Repeat to the bit.
        overwrite: Replace a folder that has content.
        steps: A progress.Steps for `count_steps(models, seeds)` steps.
    Returns:
        The report.
    Raises:
        RequestError: a wrong argument; nothing was written.
        WorkError: the loss is not finite or the disk is full; or a file failed a gate: the report was written and says
            so.
    Example:
        >>> report = resdense_export.compare(["resnet20"], "report", seeds=1)
        >>> [net["name"] for net in report["models"]], report["data"]["test"]
        (['resnet20'], 364)
    """
    from resdense_keras import training
    from resdense_keras.training import augmentation

    from .report import write_report

    _check_seeds(seeds)
    steps = steps or Steps()
    asked = [
        training.TrainingRequest(
            model=name,
            options=options,
            data=data,
            image_size=image_size,
            on_bad_image=on_bad_image,
            resize=resize or resizing.DEFAULT,
            recipe=training.recipe("compare", epochs=epochs, augment=augment),
            seed=seed,
            deterministic=deterministic,
            jit="off",
        )
        for name in dict.fromkeys(models or DEFAULT_MODELS)
    ]
    _check_alike(asked)
    replace(asked[0], seed=seed + seeds - 1)  # the last one
    if deterministic:
        training.be_deterministic()
    # The report states figures, so the gates judge the measured figures and not their intervals.
    request = ExportRequest(out, has_data=True, limits=Limits(strict=True), overwrite=overwrite, seed=seed)
    request.check_place()
    with files.lock(request.out), files.new_folder(request.out, overwrite=overwrite) as folder:
        steps.start(f"read {data}")
        dataset = training.load_data(asked[0])
        print(f"data: {dataset.describe()}", file=sys.stderr)
        done = augmentation.describe(asked[0].recipe, dataset)
        print(f"augmentation: {done} (--augment changes it)", file=sys.stderr)
        # What cannot be exported, or built, is refused before hours of training.
        request = request.with_images(len(dataset.train))
        evidence = _with_checked_calibration(from_dataset(dataset, seed), request)
        started = [training.start(one, dataset) for one in asked]
        trained = [_train(one, begun, seeds, steps) for one, begun in zip(asked, started, strict=True)]
        made = [contents.make(folder / net.name, net, evidence, request, steps) for net, _ in trained]
        made = _with_measurements(made, request, steps)
        steps.start("write the report")
        records = []
        for (_, history), bundle in zip(trained, made, strict=True):
            contents.describe(bundle)
            moved = [{**export, "file": f"{bundle.net.name}/{export['file']}"} for export in bundle.exports]
            records.append({**_model_record(bundle, moved), **history})
        result = _report(records, dataset, evidence, seed)
        write_report(folder, result)
    _raise_rejected(made, out, result)
    return result


def count_steps_beside(folders, counting):
    """Number of steps of a `beside`: one to read, one to measure, and one per file to count instructions."""
    return 2 + (sum(len(list(Path(folder).rglob("*.tflite"))) for folder in folders) if counting else 0)


def beside(
    folders: Sequence[str | Path],
    out: str | Path = "resdense-report",
    *,
    count: Callable[[Path], float] | None = None,
    overwrite: bool = False,
    rounds: int = ROUNDS,
    threads: int = 1,
    steps: Any = None,
) -> dict[str, Any]:
    """Finished exports side by side: copies their bundles into one folder and writes one report, as `compare` does.

    All files are timed again, interleaved, because times of different days cannot be compared. Accuracies are those of
    the exports; where the same images judged them, their differences are paired.

    Args:
        folders: Of `export`, or of `compare`.
        out: Folder of the report; appears when it is whole.
        count: Function that returns the Arm instructions of one inference of a file, in millions; default: not counted.
        overwrite: Replace a folder that has content.
        rounds, threads: Of the measurement.
        steps: A progress.Steps.
    Returns:
        The report.
    Raises:
        RequestError: a folder has no report or is given twice.
        WorkError: a file is missing or changed, or does not run; the disk is full.
    """
    from .report import merging, write_report

    steps = steps or Steps()
    steps.start("read the reports")
    found = merging.read(folders)
    files.check_replaceable(Path(out), overwrite, marker="report.json")
    result, places = merging.merged(found)
    with files.lock(Path(out)), files.new_folder(out, overwrite=overwrite) as folder:
        merging.copy_bundles(places, folder)
        steps.start("measure latency")
        exports = [export for model in result["models"] for export in model["exports"]]
        opened = [export for export in exports if (export["gates"].get("opens") or {"passed": True})["passed"]]
        paths = [folder / export["file"] for export in opened]
        for export, measurement in zip(opened, measure(paths, rounds, threads) if paths else [], strict=True):
            export["measurements"] = [measurement, *merging.of_browsers(export["measurements"])]
        if count is not None:
            for export in exports:
                steps.start(f"count instructions of {export['file']}")
                export["instructions"] = round(1e6 * count(folder / export["file"]))
        result |= {"created": _now(), "command": environment.command(), "machine": machine()}
        write_report(folder, result)
    return result


def count_steps(models, seeds):
    """Number of steps of a `compare`: one to read the data, one per net and seed to train, one per net and scheme to
    export, one to measure, one to report."""
    return 1 + models * (seeds + len(standard_schemes())) + 2


def _check_seeds(seeds):
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise RequestError(f"seeds={seeds!r} was given; it must be an integer of 1 or more")


def _check_alike(asked):
    """Refuses nets that would not all see the same images: with other channels or, for image files, other sizes."""
    from resdense_keras import catalog
    from resdense_keras.data import is_folder

    shapes = {one.model: one.options.get("input_shape") or catalog.sizes()[one.model]["input_shape"] for one in asked}
    if len({shape[2] for shape in shapes.values()}) > 1:
        listed = ", ".join(f"{name} {shape[2]}" for name, shape in shapes.items())
        raise RequestError(f"the nets take images of different channels: {listed}", "compare nets of the same channels")
    sizes = {tuple(shape[:2]) for shape in shapes.values()}
    if len(sizes) > 1 and asked[0].image_size is None and is_folder(asked[0].data):
        listed = ", ".join(f"{name} {shape[0]}x{shape[1]}" for name, shape in shapes.items())
        raise RequestError(f"the nets take images of different sizes: {listed}", "pass --image-size N, one for all")


def _rule(net, dataset):
    """The rule by which photos are resized, for model.json: that of the data, that of the net's training, or the
    default."""
    if dataset is not None and dataset.found is not None:
        return dataset.resize
    return net.resize or resizing.DEFAULT


def _with_checked_calibration(evidence, request):
    """The evidence with what is doubtful about its calibration images; refuses images that cannot calibrate a scheme
    now, and not in the middle of the work."""
    calibrated = [name for name in request.schemes if SCHEMES[name].calibrated]
    if not calibrated:
        return evidence
    check_calibration(evidence.calibration, evidence.calibration.shape[1:])
    if evidence.weak_calibration:
        count = len(evidence.calibration)
        weak = f"{', '.join(calibrated)}: calibrated on {count} training images only, which is weak"
        print(f"warning: {weak}; take {WEAK_CALIBRATION} or more", file=sys.stderr)
    doubts = check_likeness(evidence.calibration, evidence.some_images())
    for doubt in doubts:
        print(f"warning: {', '.join(calibrated)}: {doubt}; look at the data", file=sys.stderr)
    return replace(evidence, doubts=tuple(doubts))


def _train(request, started, seeds, steps):
    """Trains the net of a request, whose training is `started`, with `seeds` seeds from the request's on: (a Net with
    the weights of the first seed, its part of the report)."""
    from resdense_keras import training
    from resdense_keras.training.interrupts import Interrupts
    from resdense_keras.training.peak_memory import is_measured, peak_training_bytes

    name, recipe, dataset = request.model, request.recipe, started.dataset
    kept, accuracies = None, []
    for number in range(seeds):
        steps.start(f"train {name}, seed {number + 1} of {seeds}")
        seed = request.seed + number
        if number:
            training.start(replace(request, seed=seed), dataset, again=started)
        begun = time.perf_counter()
        with Interrupts() as interrupts:  # TensorFlow swallows a Ctrl-C that comes while it traces a net
            history = started.run(seed, partial(_tell, steps, recipe.epochs), stopping=lambda: bool(interrupts))
        seconds = time.perf_counter() - begun
        accuracies.append(started.accuracy(dataset.test))
        kept = kept or (started.model.get_weights(), history, seconds)
    weights, history, seconds = kept
    model = started.model
    model.set_weights(weights)
    net = Net(name, model, preprocessing_inside(model), dataset.class_names, dataset.resize)
    return net, {
        "epochs": recipe.epochs,
        "train_seconds": round(seconds, 2),
        "peak_training_bytes": peak_training_bytes(model, recipe.batch_size) if is_measured() else None,
        "accuracy": accuracies[0],
        "accuracy_by_seed": accuracies,
        "history": history,
    }


def _tell(steps, epochs, row):
    steps.detail(f"epoch {row['epoch']} of {epochs}, validation accuracy {row['val_accuracy']:.3f}")


def _with_measurements(made, request, steps):
    """The bundles with a measurement of each file that opens; all files are timed in the same interleaved rounds."""
    steps.start("measure latency")
    # A stock twin is kept even if gates fail, and one that does not open would end the measurement of all files.
    paths = [
        bundle.folder / export["file"]
        for bundle in made
        for export in bundle.exports
        if export["gates"]["opens"]["passed"]
    ]
    found = dict(zip(paths, measure(paths, request.rounds, request.threads), strict=True)) if paths else {}

    def with_time(bundle, export):
        measurement = found.get(bundle.folder / export["file"])
        return {**export, "measurements": [measurement] if measurement else []}

    return [replace(bundle, exports=tuple(with_time(bundle, export) for export in bundle.exports)) for bundle in made]


def _model_record(bundle, exports):
    """A model's entry in report.json; values that only a training knows are null."""
    from resdense_keras.catalog import family
    from resdense_keras.profiles import profile

    found = profile(bundle.net.model)
    classes = right_by_class(exports, bundle.evidence.labels, bundle.net.class_names)
    return {
        "name": bundle.net.name,
        "family": bundle.net.family or family(bundle.net.name),
        "parameters": found.parameters,
        "macs": found.macs,
        "activation_bytes": found.activation_bytes,
        "inference_peak_bytes": found.inference_peak_bytes,
        "epochs": None,
        "train_seconds": None,
        "peak_training_bytes": None,
        "accuracy": None,
        "accuracy_by_seed": [],
        "history": [],
        "exports": list(exports),
        "rejected": bundle.rejected,
        **({"slim": bundle.net.slimmed} if bundle.net.slimmed else {}),
        **({"by_class": classes} if classes else {}),
    }


def _report(records, dataset, evidence, seed):
    counts = dict.fromkeys(("spec", "train", "validation", "test", "classes", "image_shape"))
    if dataset is not None:
        counts = {
            "spec": dataset.name,
            **{split: len(part) for split, part in dataset.splits.items()},
            "classes": dataset.classes if dataset.found is None or dataset.found.labelled else None,
            "image_shape": list(dataset.image_shape),
            "resize": dataset.resize if dataset.found else None,
            "understood": dataset.describe(),
            "note": dataset.val_note(),
            "judged_sha256": evidence.fingerprint,
            **({"calibration_doubts": list(evidence.doubts)} if evidence.doubts else {}),
        }
    return {
        "schema": "resdense-report/1",
        "created": _now(),
        "command": environment.command(),
        "seed": seed,
        "versions": environment.versions(),
        "machine": machine(),
        "data": counts,
        "models": records,
    }


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _way_out(bundle):
    """Hint for an int8 file that lost too much; empty where the failure is another, or the remedy was used already."""
    if bundle.budget or not bundle.rejected.get("int8", {}).keys() & {"accuracy", "agreement"}:
        return ""
    return "; `resdense export --budget 0.1` keeps layers of int8 in float, and `--schemes qat` trains on for it"


def _raise_rejected(made, out, report):
    """Raises a WorkError with the report where a file failed its gates; that file was not written, the others were."""
    reasons = [
        f"{bundle.net.name}-{scheme}: " + "; ".join(f"{gate}: {why}" for gate, why in gates.items())
        for bundle in made
        for scheme, gates in bundle.rejected.items()
    ]
    if reasons:
        error = WorkError(
            f"{len(reasons)} of the files failed a gate and were not written: " + " | ".join(reasons),
            f"the others are in {out}; its report.json says more"
            + "".join(sorted({_way_out(bundle) for bundle in made})),
        )
        error.report = report
        raise error

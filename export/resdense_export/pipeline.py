"""`export` and `compare`: the steps of this package in their order, and the report at the end.

Data walks one way: spec -> tf.data -> model -> trained weights -> float .tflite -> quantized files -> gates ->
measurements -> report.
"""

import datetime
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from resdense_keras import files
from resdense_keras.errors import RequestError, WorkError, unknown

from . import bundle as bundles
from . import environment
from .gates import Limits
from .measurement import machine, measure
from .progress import Steps
from .quantization import standard_schemes
from .sources import preprocessing_inside

DEFAULT_MODELS = ("resnet20", "densenet_bc22_24", "plain20")  # the same parameters within 10 %
ROUNDS = 60
INPUT_TYPES = ("float32", "uint8")
NEED_BYTES = 50e6  # free space below which no run begins


def export(
    model,
    out,
    schemes=None,
    *,
    name=None,
    dataset=None,
    class_names=None,
    preprocessing="unknown",
    input_type="float32",
    budget=None,
    max_drop=1.0,
    min_agreement=0.98,
    baseline=False,
    overwrite=False,
    rounds=ROUNDS,
    threads=1,
    steps=None,
):
    """Turns a Keras model into a bundle of checked and measured .tflite files with a report.

    Args:
        model: Functional Keras model, float32 (1, H, W, C) pixels in, probabilities out.
        out: Folder of the bundle; appears when it is whole.
        schemes: Names of quantization.SCHEMES; default: all that can be made.
        name: First part of the files' names; default: the model's.
        dataset: data.Dataset whose train split calibrates and whose test split judges; without it int8 is refused and
            only parity is checked.
        class_names: Labels; default: the data's.
        preprocessing: What stands inside the net, as JSON.
        input_type: "float32", or "uint8" for camera frames.
        budget: Points of top-1 that int8 may lose; the most sensitive layers stay float for it, see budget.within.
        max_drop, min_agreement: Gates, see gates.check.
        baseline: Also the stock converter's files.
        overwrite: Replace a folder that has content.
        rounds, threads: Of the measurement.
        steps: A progress.Steps.
    Returns:
        The report (the content of report.json).
    Raises:
        RequestError: a wrong argument; nothing was written.
        WorkError: a file failed a gate. The bundle is there without it, and its report says why.
    """
    from . import report as reports

    schemes = bundles.schemes_for(schemes, dataset is not None)
    limits = asdict(Limits(max_drop, min_agreement))
    check_export(out, schemes, input_type=input_type, budget=budget, overwrite=overwrite)
    if input_type == "uint8" and preprocessing == "unknown":
        message = "a uint8 input holds pixels in [0, 255]; whether this model takes such is not known"
        raise RequestError(message, "say with --preprocessing what its pixels mean")
    steps = steps or Steps()
    name = name or model.name
    with _new_folder(out, overwrite) as folder:
        options = {"class_names": class_names, "preprocessing": preprocessing, "input_type": input_type}
        if dataset is None:
            bundle = bundles.without_data(folder, name, model, **options)
        else:
            dataset.check_outputs(model.output_shape[-1])
            bundle = bundles.from_dataset(folder, name, model, dataset, budget=budget, **options)
        bundles.make_files(bundle, schemes, limits=limits, baseline=baseline, steps=steps)
        _measure([bundle], rounds, threads, steps)
        bundles.describe(bundle)
        result = _report([_model_record(bundle, bundle.exports)], dataset, seed=0)
        reports.write_report(folder, result)
    _raise_rejected([bundle], out)
    return result


def compare(
    models=None,
    out="resdense-report",
    *,
    data="digits",
    epochs=None,
    seeds=3,
    seed=0,
    options=None,
    image_size=None,
    on_bad_image="fail",
    deterministic=False,
    overwrite=False,
    steps=None,
):
    """Trains nets on the same data, exports, checks and measures them, and writes one report: the main job.

    Args:
        models: Catalogue names; default: a ResNet, a DenseNet-BC of equal size, and the plain net.
        out: Folder of the report; appears when it is whole.
        data: Data spec.
        epochs: Default: the recipe's.
        seeds: Trainings of each net, `seed`, `seed` + 1 ...; the first one's weights are exported.
        options: Builder options for every net.
        image_size, on_bad_image: For image folders, see data.load.
        deterministic: Repeat to the bit.
        overwrite: Replace a folder that has content.
        steps: A progress.Steps for `count_steps(models, seeds)` steps.
    Returns:
        The report.
    Raises:
        RequestError: a wrong argument; nothing was written.
        WorkError: a loss that is not finite, a full disk; or a file failed a gate: the report is there and says it.
    """
    from resdense_keras import training

    from . import report as reports

    models = list(dict.fromkeys(models or DEFAULT_MODELS))
    _check_counts(epochs=epochs, seeds=seeds)
    _check_names(models)
    steps = steps or Steps()
    recipe = training.recipe("compare", epochs=epochs)
    if deterministic:
        training.be_deterministic()
    with _new_folder(out, overwrite) as folder:
        steps.start(f"read {data}")
        dataset = _load(data, seed, image_size, on_bad_image)
        trained = [
            _train(name, dataset, recipe, [seed + i for i in range(seeds)], options or {}, steps) for name in models
        ]
        made = []
        for net in trained:
            bundle = bundles.from_dataset(
                folder / net["name"],
                net["name"],
                net["model"],
                dataset,
                preprocessing=net["preprocessing"],
                seed=seed,
            )
            # The report speaks of figures: here the gates must hold as measured, without the benefit of the interval.
            limits = asdict(Limits(strict=True))
            bundles.make_files(bundle, standard_schemes(), limits=limits, steps=steps)
            made.append(bundle)
        _measure(made, ROUNDS, 1, steps)
        steps.start("write the report")
        records = []
        for net, bundle in zip(trained, made, strict=True):
            bundles.describe(bundle)
            moved = [{**export, "file": f"{bundle.name}/{export['file']}"} for export in bundle.exports]
            records.append({**_model_record(bundle, moved), **net["record"]})
        result = _report(records, dataset, seed=seed)
        reports.write_report(folder, result)
    _raise_rejected(made, out)
    return result


def check_export(out, schemes, *, input_type="float32", budget=None, overwrite=False):
    """Refuses in a second what `export` would refuse after it has loaded TensorFlow, model and data.

    Raises:
        RequestError: a value out of range, a folder that may not be replaced.
        WorkError: the folder cannot be written.
    """
    if input_type not in INPUT_TYPES:
        raise unknown("input type", input_type, INPUT_TYPES)
    if budget is not None and not 0 <= budget <= 100:
        raise RequestError(f"budget={budget} was given; it must be a number of points in [0, 100]", "such as 0.1")
    if budget is not None and "int8" not in schemes:
        raise RequestError(f"a budget of {budget:g} points was given; it is for int8, which is not among the schemes",
                           "pass --data SPEC, and int8 in --schemes")  # fmt: skip
    files.check_replaceable(out, overwrite)
    files.check_writable(out, NEED_BYTES)


def count_steps(models, seeds):
    """Steps of a `compare`: one to read, a training a net and seed, a file a net and scheme, to measure, to report."""
    return 1 + models * (seeds + len(standard_schemes())) + 2


def _new_folder(out, overwrite):
    """The folder to fill, locked against a second run, checked before the work."""
    from contextlib import ExitStack, contextmanager

    @contextmanager
    def entered():
        with ExitStack() as stack:
            files.check_writable(out, NEED_BYTES)
            stack.enter_context(files.lock(out))
            yield stack.enter_context(files.new_folder(out, overwrite=overwrite))

    return entered()


def _check_counts(**counts):
    for name, count in counts.items():
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise RequestError(f"{name}={count!r} was given; it must be an integer of 1 or more")


def _check_names(models):
    from resdense_keras import list_models

    for name in models:
        if name not in list_models():
            raise unknown("model", name, list_models())


def _load(data, seed, image_size, on_bad_image):
    from resdense_keras import data as sources

    return sources.load(data, seed=seed, image_size=image_size, on_bad_image=on_bad_image)


def _train(name, dataset, recipe, seeds, options, steps):
    """One net, trained once a seed: the model with the first seed's weights, and its part of the report."""
    import keras

    from resdense_keras import create, preprocessing, training
    from resdense_keras.experiments import memory

    pixels = preprocessing.measured(dataset.train.array())
    own = {"input_shape": dataset.image_shape, "classes": dataset.classes, "include_preprocessing": pixels}
    trainer, kept, accuracies = None, None, []
    for number, seed in enumerate(seeds, start=1):
        steps.start(f"train {name}, seed {number} of {len(seeds)}")
        keras.utils.set_random_seed(seed)
        fresh = create(name, **(own | options))
        if trainer is None:
            trainer = training.Training(fresh, dataset, recipe)
        else:
            trainer.model.set_weights(fresh.get_weights())
        started = time.perf_counter()
        history = trainer.run(seed, on_epoch=partial(_tell, steps, recipe.epochs))
        seconds = time.perf_counter() - started
        accuracies.append(trainer.accuracy(dataset.test))
        kept = kept or (trainer.model.get_weights(), history, seconds)
    weights, history, seconds = kept
    trainer.model.set_weights(weights)
    return {
        "name": name,
        "model": trainer.model,
        "preprocessing": preprocessing_inside(trainer.model),
        "record": {
            "epochs": recipe.epochs,
            "train_seconds": round(seconds, 2),
            "peak_training_bytes": memory.peak_training_bytes(trainer.model, recipe.batch_size),
            "accuracy": accuracies[0],
            "accuracy_by_seed": accuracies,
            "history": history,
        },
    }


def _tell(steps, epochs, row):
    steps.detail(f"epoch {row['epoch']} of {epochs}, validation accuracy {row['val_accuracy']:.3f}")


def _measure(made, rounds, threads, steps):
    """Fills the measurements of all files of all bundles that open, interleaved in the same rounds."""
    steps.start("measure latency")
    # A stock twin is kept whatever its gates say, and one that does not open would end the measuring of all.
    exports = [(bundle, row) for bundle in made for row in bundle.exports if row["gates"]["opens"]["passed"]]
    if exports:
        found = measure([bundle.folder / export["file"] for bundle, export in exports], rounds=rounds, threads=threads)
        for (_, export), measurement in zip(exports, found, strict=True):
            export["measurements"].append(measurement)


def _model_record(bundle, exports):
    """A model's entry in report.json, with null for what only a training knows."""
    from resdense_keras.catalog import family
    from resdense_keras.profiles import profile

    found = profile(bundle.model)
    return {
        "name": bundle.name,
        "family": family(bundle.name),
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
        "exports": exports,
        "rejected": bundle.rejected,
    }


def _report(records, dataset, seed):
    counts = dict.fromkeys(("spec", "train", "validation", "test", "classes", "image_shape"))
    if dataset is not None:
        counts = {
            "spec": Path(dataset.spec).name,
            **{split: len(part) for split, part in dataset.splits.items()},
            "classes": dataset.classes,
            "image_shape": list(dataset.image_shape),
        }
    return {
        "schema": "resdense-report/1",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": environment.command(),
        "seed": seed,
        "versions": environment.versions(),
        "machine": machine(),
        "data": counts,
        "models": records,
    }


def _way_out(bundle):
    """What `export` has for an int8 file that answers too differently; empty where that is not it, or was tried."""
    if bundle.budget or not bundle.rejected.get("int8", {}).keys() & {"accuracy", "agreement"}:
        return ""
    return "; `resdense export --budget 0.1` keeps layers of int8 in float, and `--schemes qat` trains on for it"


def _raise_rejected(made, out):
    """A file that failed its gates is not written; the rest is, and the command fails."""
    reasons = [
        f"{bundle.name}-{scheme}: " + "; ".join(f"{gate}: {why}" for gate, why in gates.items())
        for bundle in made
        for scheme, gates in bundle.rejected.items()
    ]
    if reasons:
        raise WorkError(
            f"{len(reasons)} of the files failed a gate and were not written: " + " | ".join(reasons),
            f"the others are in {out}; its report.json says more"
            + "".join(sorted({_way_out(bundle) for bundle in made})),
        )

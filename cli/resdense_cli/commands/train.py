"""`resdense train`: trains a net by a recipe, from its name and flags or from the config.yaml of an earlier run."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from resdense_keras.errors import RequestError
from resdense_keras.training.recipes import OFFERED, RECIPES

from ..options import (
    NONE,
    SPECS,
    Augment,
    BatchSize,
    Deterministic,
    Devices,
    LearningRate,
    OnBadImage,
    Resize,
    Resume,
    RunFolder,
    SaveSeconds,
    Settings,
    builder_options,
    in_panels,
    names,
)
from ..output import start_tensorflow, tell

ORDER = 20
PANELS = {
    "Recipe": (
        *("batch_size", "learning_rate", "weight_decay", "label_smoothing", "augment", "optimizer", "class_weights"),
        *("ema", "slimmable", "patience"),
    ),
    "Net and data": ("settings", "held_out", "image_size", "resize", "on_bad_image", "scan"),
    "Machine": (
        *("deterministic", "tensorboard", "precision", "jit", "save_seconds", "devices", "sync_batch_norm"),
        *("coordinator", "process", "processes"),
    ),
}
STOPPED = "nothing of the run is lost; the same command with `--resume` continues it"


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name from `resdense models`, or the config.yaml of an earlier run.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SPEC",
            help=f"Training data: {SPECS}. Required unless MODEL is a config.yaml.",
        ),
    ] = None,
    out: RunFolder = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help=f"Recipe: {', '.join(name for name in OFFERED if name != 'slim')} or a FILE.yaml; slim belongs to "
            f"`resdense slim`, here --show prints it. Default: fast ({RECIPES['fast'].epochs} epochs).",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe with its sources, and train nothing.")] = False,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Number of passes over the training images. Default: from the recipe."),
    ] = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            "--weight-decay",
            help="Decay of the kernels of convolutions and fully connected layers. Default: from the recipe.",
        ),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(
            "--label-smoothing", help="Share of each label that is spread over all classes. Default: from the recipe."
        ),
    ] = None,
    augment: Augment = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer", help="sgd or adamw (adamw needs a --learning-rate near 0.001). Default: from the recipe."
        ),
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(
            "--class-weights",
            help="balanced (images of rare classes count more in the loss) or none. Default: from the recipe.",
        ),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            "--ema",
            metavar="DECAY",
            help="Evaluate and save a moving average of the weights with this decay, such as 0.999; 0 "
            "turns it off. Default: from the recipe.",
        ),
    ] = None,
    slimmable: Annotated[
        bool | None,
        typer.Option(
            "--slimmable/--no-slimmable",
            help="Push scales of batch norms to zero while training, so that a later `resdense slim` loses less "
            "before its own training (the recipe's field sparsity, stronger in a short training). Default: from the "
            "recipe.",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            metavar="N",
            min=0,
            help="Stop after N epochs without a better validation accuracy; 0 never stops early. Default: "
            "from the recipe.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="Weights to start from: a name from the column `weights` of `resdense models`, a file, or none. "
            "Default: none.",
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            "--freeze",
            metavar="STAGE",
            help="Keep the net fixed up to and including this stage: stem, stage1, stage2 ... (a wrong name lists the "
            "net's); or none. Default: none.",
        ),
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            "--held-out",
            metavar="SHARE",
            min=0.001,
            max=0.9,
            help="Share of the training images that is held out for validation. A folder's own val/ replaces it. "
            "Default: 0.1.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of every random choice. Default: 0.")] = None,
    resume: Resume = False,
    deterministic: Deterministic = None,
    tensorboard: Annotated[
        bool | None,
        typer.Option(
            "--tensorboard/--no-tensorboard",
            help="Also write event files for TensorBoard into the run folder. Default: off.",
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32, mixed_bfloat16 or mixed_float16. Default: float32.")
    ] = None,
    jit: Annotated[
        str | None,
        typer.Option("--jit", help="Compile with XLA: on, off, or auto (a timed trial decides). Default: auto."),
    ] = None,
    save_seconds: SaveSeconds = 60,
    devices: Devices = None,
    sync_batch_norm: Annotated[
        bool | None,
        typer.Option(
            "--sync-batch-norm/--no-sync-batch-norm",
            help="Compute batch-norm statistics over all devices. Default: off, each device its own.",
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            "--coordinator",
            metavar="HOST:PORT",
            help="For several hosts: the address of process 0. Default: this host only.",
        ),
    ] = None,
    process: Annotated[
        int | None,
        typer.Option(
            "--process", help="For several hosts: the number of this one, from 0. Required with --coordinator."
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", help="For several hosts: the number of them. Required with --coordinator."),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            "--image-size",
            metavar="N",
            help="Side of the images in pixels, for photos of several sizes; none: from the model. Default: none.",
        ),
    ] = None,
    on_bad_image: OnBadImage = None,
    resize: Resize = None,
    scan: Annotated[
        bool,
        typer.Option(
            "--scan",
            help="Read every image in full before training. Without it only the headers are read in folders of "
            "20,000 files or more that do not fit in memory.",
        ),
    ] = False,
    settings: Settings = None,
):
    """Train a net by a recipe. A run may be stopped at any moment; --resume continues it.

    Example: resdense train resnet20 --weights cifar10 --data photos --image-size 32 --out runs/first
    """
    if coordinator is None:
        start_tensorflow()
    elif not show:
        connect(coordinator, process, processes)

    asked = requested(
        model,
        recipe,
        {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "label_smoothing": label_smoothing,
            "augment": augment,
            "optimizer": optimizer,
            "class_weights": class_weights,
            "ema": ema,
            "patience": patience,
            "sparsity": sparsity(slimmable),
        },
        data=data,
        settings=settings,
        weights=weights,
        freeze=freeze,
        held_out=held_out,
        seed=seed,
        deterministic=deterministic,
        tensorboard=tensorboard,
        precision=precision,
        jit=jit,
        image_size=_side(image_size),
        on_bad_image=on_bad_image,
        resize=resize,
    )
    if show:
        print(shown(asked, recipe, model), end="")
        return
    _check_given(model, data, out)
    if asked.deterministic:
        from resdense_keras import training

        training.be_deterministic()  # now, because looking at the devices starts TensorFlow
    chosen = chosen_devices(devices, coordinator, process, processes, sync_batch_norm, asked.devices)
    run(asked, out, resume=resume, scan=scan, save_seconds=save_seconds, devices=chosen)
    print(out)


in_panels(command, PANELS)


def sparsity(slimmable):
    """The value of a flag for the recipe's field; None where the flag was not given."""
    from resdense_keras.training import recipes

    return None if slimmable is None else recipes.SPARSITY if slimmable else 0.0


def requested(model, recipe, changes, *, settings, **given):
    """The TrainingRequest from the flags, or from a config.yaml and the flags that change it.

    Args:
        model: Catalogue name, or the path of a config.yaml.
        recipe: Name or file, or None.
        changes: {field of the recipe: value, or None}; "augment" is text with commas.
        settings: NAME=VALUE options of the builder; each replaces the one in the config, and NAME= removes it.
        given: Other fields of the request. None means not given; NONE removes the value in the config.yaml.
    """
    from resdense_keras import training

    before = config(model)
    recipe, model = _recipe_name(recipe, model), before.get("model", model)
    changes = {**changes, "augment": names(changes["augment"])}
    untold = {"class_weights": None} if changes["class_weights"] == NONE else {}
    changes = {key: value for key, value in changes.items() if key not in untold}
    chosen = dataclasses.replace(training.recipe(recipe, model, **changes), **untold)
    kind = training.TrainingRequest
    request = kind.from_config(before, chosen) if before else kind(model=model, recipe=chosen)
    taken = {setting[:-1] for setting in settings or () if setting.endswith("=")}
    options = {**request.options, **builder_options(settings)}
    defaults = {field.name: field.default for field in dataclasses.fields(request)}
    return dataclasses.replace(
        request,
        options={name: value for name, value in options.items() if name not in taken},
        **{key: defaults[key] if value == NONE else value for key, value in given.items() if value is not None},
    )


def config(model):
    """The content of a config.yaml that is given as MODEL; {} for a name."""
    from resdense_keras import training

    return training.read_config(model) if _is_config(model) else {}


def shown(asked, recipe, model):
    """The recipe as YAML with its sources; `recipe` and `model` as given."""
    from resdense_keras.training import recipes

    return recipes.describe(_recipe_name(recipe, model), asked.model, asked.recipe)


def connect(coordinator, process, processes):
    """Joins the other hosts (`--coordinator`); call it before anything imports Keras."""
    from resdense_keras.training import hosts

    hosts.connect(coordinator, process, processes)


def chosen_devices(chosen, coordinator, process, processes, synchronized, before=None):
    """Where the steps run: by the flags, or by `before` of a config.yaml where no flag says so."""
    from resdense_keras.training.devices import AllDevices, choose

    given = [
        f"--{name} {value}" for name, value in (("process", process), ("processes", processes)) if value is not None
    ]
    if given and coordinator is None:
        raise RequestError(f"{' '.join(given)} was given without --coordinator", "pass --coordinator HOST:PORT too")
    if coordinator and chosen:
        raise RequestError(
            f"--devices {chosen} and --coordinator {coordinator} were given; several hosts use all their devices",
            "leave --devices out",
        )
    count, *how = str(before or "one").split()
    synchronized = how == ["synchronized"] if synchronized is None else synchronized
    if chosen or coordinator or count == "one":
        return choose(chosen, coordinator=coordinator, synchronized=synchronized)
    if how[-1:] == ["hosts"]:
        raise RequestError(
            f"the config.yaml belongs to a run with devices {before}, and --coordinator is missing",
            "start it on every host with --coordinator, --process and --processes, or pass --devices N for this one",
        )
    return AllDevices(1, synchronized) if count == "1" else choose(count, synchronized=synchronized)


def run(request, out, *, resume, scan, save_seconds, devices):
    """Trains; prints progress on stderr, one line per epoch."""
    from resdense_keras import training

    request = dataclasses.replace(request, devices=devices.name)
    how = {"resume": resume, "scan": scan, "save_seconds": save_seconds}
    training.run(request, Path(out), **how, devices=devices, tell=tell)


def _check_given(model, data, out):
    data = config(model).get("data", data)
    for flag, value in (("--data SPEC", data), ("--out RUN", out)):
        if value is None:
            raise RequestError(f"{flag} is missing", "for example --data digits --out runs/first")


def _side(text):
    if text is None or text == NONE:
        return text
    if not text.isdigit() or int(text) < 1:
        raise RequestError(f"--image-size {text} was given; it must be a number of pixels, or none", "for example 224")
    return int(text)


def _is_config(model):
    return model.endswith((".yaml", ".yml"))


def _recipe_name(recipe, model):
    return recipe or (model if _is_config(model) else "fast")

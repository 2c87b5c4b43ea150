"""`resdense train`: a net by a recipe, from its name and flags or from the config.yaml of another run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from resdense_keras.errors import RequestError

from ..options import ImageSize, OnBadImage, Resize, Settings, builder_options
from ..output import start_tensorflow

ORDER = 20
STOPPED = "the run is whole; the same command with `--resume` goes on with it"
NO_AUGMENTATION = "none"


def command(
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
    resize: Resize = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="Read every image in full first, also of 20,000 files or more.")
    ] = False,
    settings: Settings = None,
):
    """Train a net by a recipe; the run folder can be resumed to the same end."""
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
        },
        data=data,
        options=builder_options(settings),
        weights=weights,
        freeze=freeze,
        held_out=held_out,
        seed=seed,
        deterministic=deterministic,
        precision=precision,
        jit=jit,
        image_size=image_size,
        on_bad_image=on_bad_image,
        resize=resize,
        scan=scan,
    )
    if show:
        print(shown(asked, recipe, model), end="")
        return
    before = config(model).get("devices")
    chosen = chosen_devices(devices, coordinator, process, processes, sync_batch_norm, before)
    run(asked, out, resume=resume, save_seconds=save_seconds, devices=chosen)
    print(out)


def requested(model, recipe, changes, *, options, **given):
    """The arguments of `training.train` but the folder and the devices; a config.yaml gives what no flag does.

    Args:
        model: Catalogue name, or the path of a config.yaml.
        recipe: Name or file, or None.
        changes: {field of the recipe: value, or None}; "augment" as a list with commas.
        options: Of the builder; each one that is given replaces the config's of that name.
        given: Other arguments of `training.train`; None and False were not given. What no one gave is left out, so that
            its default there holds.
    """
    from resdense_keras import training

    changes = {**changes, "augment": _names(changes["augment"])}
    before = config(model)
    recipe, model = _recipe_name(recipe, model), before.get("model", model)
    chosen = training.recipe(recipe, model, **changes)
    asked = {key: before.get(key) if value is None or value is False else value for key, value in given.items()}
    asked = {key: value for key, value in asked.items() if value is not None}
    if before:
        asked.setdefault("resize", None)  # an older config means what was done at its time
    return {"model": model, "recipe": chosen, "options": {**before.get("options", {}), **options}, **asked}


def config(model):
    """The content of the config.yaml that is given in place of a model, or {} of a name."""
    from resdense_keras import training

    return training.read_config(model) if _is_config(model) else {}


def shown(asked, recipe, model):
    """The recipe as YAML with its sources; `recipe` and `model` as given."""
    from resdense_keras.training import recipes

    return recipes.describe(_recipe_name(recipe, model), asked["model"], asked["recipe"])


def connect(coordinator, process, processes):
    """Joins the other hosts, before anything imports Keras: the command line's `--coordinator`."""
    from resdense_keras.training import hosts

    hosts.connect(coordinator, process, processes)


def chosen_devices(chosen, coordinator, process, processes, synchronized, before=None):
    """Where the steps run, of the flags of the command line; `before`, of a config.yaml, where no flag says it."""
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
    synchronized = synchronized or how == ["synchronized"]
    if chosen or coordinator or count == "one":
        return choose(chosen, coordinator=coordinator, synchronized=synchronized)
    if how[-1:] == ["hosts"]:
        raise RequestError(
            f"the config.yaml is of a run on {before}, and --coordinator is missing",
            "start it on every host with --coordinator, --process and --processes, or pass --devices N for this one",
        )
    return AllDevices(1, synchronized) if count == "1" else choose(count, synchronized=synchronized)


def run(asked, out, *, resume, save_seconds, devices):
    """Trains; progress goes to stderr, a line an epoch."""
    from resdense_keras import training

    for flag, value in (("--data SPEC", asked.get("data")), ("--out RUN", out)):
        if value is None:
            raise RequestError(f"{flag} is missing", "for example --data digits --out runs/first")
    training.train(**asked, out=Path(out), resume=resume, save_seconds=save_seconds, devices=devices, tell=_tell)


def _is_config(model):
    return model.endswith((".yaml", ".yml"))


def _recipe_name(recipe, model):
    return recipe or (model if _is_config(model) else "fast")


def _names(text):
    if text is None:
        return None
    return () if text == NO_AUGMENTATION else tuple(name.strip() for name in text.split(","))


def _tell(line):
    print(line, file=sys.stderr, flush=True)

"""`resdense train`: what was asked for, from a net's name and flags or from the config.yaml of another run."""

import sys
from pathlib import Path

from resdense_keras.errors import RequestError

NO_AUGMENTATION = "none"


def request(model, recipe, changes, **given):
    """The arguments of `training.train` but the folder; a config.yaml gives what no flag does.

    Args:
        model: Catalogue name, or the path of a config.yaml.
        recipe: Name or file, or None.
        changes: {field of the recipe: value, or None}; "augment" as a list with commas.
        given: Other arguments of `training.train`; None, False and empty ones were not given. What no one gave is left
            out, so that its default there holds.
    """
    from resdense_keras import training

    changes = {**changes, "augment": _names(changes["augment"])}
    before = {}
    if model.endswith((".yaml", ".yml")):
        before = training.read_config(model)
        recipe, model = recipe or model, before["model"]
    chosen = training.recipe(recipe or "fast", model, **changes)
    asked = {key: value or before.get(key) or value for key, value in given.items()}
    return {"model": model, "recipe": chosen, **{key: value for key, value in asked.items() if value is not None}}


def show(asked, recipe):
    """The recipe as YAML with its sources."""
    from resdense_keras.training import recipes

    return recipes.describe(recipe or "fast", asked["model"], asked["recipe"])


def connect(coordinator, process, processes):
    """Joins the other hosts, before anything imports Keras: the command line's `--coordinator`."""
    from resdense_keras.training import hosts

    hosts.connect(coordinator, process, processes)


def devices(chosen, coordinator, process, processes, synchronized):
    """Where the steps run, of the flags of the command line."""
    from resdense_keras.training.devices import choose

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
    return choose(chosen, coordinator=coordinator, synchronized=synchronized)


def train(asked, out, *, resume, save_seconds, devices):
    """Trains; progress goes to stderr, a line an epoch."""
    from resdense_keras import training

    for flag, value in (("--data SPEC", asked.get("data")), ("--out RUN", out)):
        if value is None:
            raise RequestError(f"{flag} is missing", "for example --data digits --out runs/first")
    training.train(**asked, out=Path(out), resume=resume, save_seconds=save_seconds, devices=devices, tell=_tell)


def _names(text):
    if text is None:
        return None
    return () if text == NO_AUGMENTATION else tuple(name.strip() for name in text.split(","))


def _tell(line):
    print(line, file=sys.stderr, flush=True)

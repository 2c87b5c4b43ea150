"""`resdense train`: what was asked for, from a net's name and flags or from the config.yaml of another run."""

import sys
from pathlib import Path

from resdense_keras.errors import RequestError

NO_AUGMENTATION = "none"


def request(model, recipe, changes, *, options, **given):
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
    return {"model": model, "recipe": chosen, "options": {**before.get("options", {}), **options}, **asked}


def config(model):
    """The content of the config.yaml that is given in place of a model, or {} of a name."""
    from resdense_keras import training

    return training.read_config(model) if _is_config(model) else {}


def show(asked, recipe, model):
    """The recipe as YAML with its sources; `recipe` and `model` as given."""
    from resdense_keras.training import recipes

    return recipes.describe(_recipe_name(recipe, model), asked["model"], asked["recipe"])


def connect(coordinator, process, processes):
    """Joins the other hosts, before anything imports Keras: the command line's `--coordinator`."""
    from resdense_keras.training import hosts

    hosts.connect(coordinator, process, processes)


def devices(chosen, coordinator, process, processes, synchronized, before=None):
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


def train(asked, out, *, resume, save_seconds, devices):
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

"""What a training is asked for, in one record: checked once, kept in config.yaml, read back from there."""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import yaml

from .. import catalog
from ..data import resizing
from ..data.splits import VALIDATION_SHARE
from ..errors import RequestError, unknown
from .recipes import Recipe
from .recipes import recipe as find_recipe

SCHEMA = "resdense-run/1"
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
JITS = ("auto", "on", "off")


@dataclass(frozen=True)
class TrainingRequest:
    """All that decides what a training ends in: the same request on the same data is the same run.

    Where the run folder lies, how often the state is saved and what is told are not part of it.

    Attributes:
        model: Catalogue name.
        options: Builder options.
        weights: A set of weights by name, or a file, to start from; or None.
        freeze: "stem" or "stage3": what is not trained, up to and including that; or None.
        data: Data spec; its test split is not read.
        image_size, on_bad_image: For image folders, see data.load; the size defaults to the net's own.
        resize: How the photos of a folder come to that size, of data.resizing.RULES. None is what version 0.1 did:
            "crop", and val/ without test/ does not judge the epochs; a config.yaml without the key means that.
        held_out: Share of the training images that judges the epochs and is not trained on, see data.load.
        recipe: A Recipe, or a name, see `recipes.recipe`.
        seed: Of the weights, the order of the images, their augmentation and dropout.
        deterministic: Repeat to the bit; without XLA.
        precision: Of PRECISIONS.
        jit: Of JITS: XLA by a timed trial, or as you say.
        devices: Name of where the steps run, see `devices.OneDevice.name`.
    Raises:
        RequestError: a value that is not allowed.
    """

    model: str
    options: dict = field(default_factory=dict)
    weights: str | None = None
    freeze: str | None = None
    data: str = "digits"
    image_size: int | tuple | None = None
    on_bad_image: str = "fail"
    resize: str | None = resizing.DEFAULT
    held_out: float = VALIDATION_SHARE
    recipe: Recipe | str = "fast"
    seed: int = 0
    deterministic: bool = False
    precision: str = "float32"
    jit: str = "auto"
    devices: str = "one"

    def __post_init__(self):
        for name, known in (("precision", PRECISIONS), ("jit", JITS), ("model", catalog.BUILDERS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        self._set("recipe", find_recipe(self.recipe, self.model) if isinstance(self.recipe, str) else self.recipe)
        self._set("options", dict(self.options or {}))
        self._set("weights", None if self.weights is None else str(self.weights))
        self._set("data", str(self.data))
        if self.resize is not None:
            resizing.check(self.resize)

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    @classmethod
    def from_config(cls, config):
        """The request that `as_config` wrote."""
        known = {key: config[key] for key in FIELDS if key in config} | {"resize": config.get("resize")}
        return cls(**{**known, "recipe": Recipe(**config["recipe"])})

    def as_config(self):
        """As config.yaml keeps it."""
        config = {"schema": SCHEMA, **asdict(self), "recipe": self.recipe.as_dict()}
        return yaml.safe_load(yaml.safe_dump(config, sort_keys=False))  # a tuple is a list there

    def going_on(self, config):
        """This request for a run that `config` began: what that lacks is as it was at its time, unless it was asked
        for."""
        before = "resize" not in config and self.resize == resizing.DEFAULT
        return replace(self, resize=None) if before else self

    def differences(self, config):
        """What the `config` of another run says otherwise, a phrase a key, those of the recipe too."""
        before, asked = _flat(config), _flat(self.as_config())
        return [
            f"{key} is {before.get(key)!r} there and {asked.get(key)!r} here"
            for key in dict.fromkeys((*before, *asked))
            if before.get(key) != asked.get(key)
        ]


FIELDS = tuple(field.name for field in fields(TrainingRequest))


def read_config(path):
    """The content of a run's config.yaml: what `train` was asked for.

    Raises:
        RequestError: no such file, or not of this version.
    """
    try:
        config = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"{path} cannot be read: {error}", "it is the config.yaml of a run folder") from error
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        raise RequestError(f"{path} is not a {SCHEMA}", "it was changed, or another version of resdense wrote it")
    return config


def _flat(config):
    return {key: value for key, value in config.items() if key != "recipe"} | dict(config.get("recipe") or {})

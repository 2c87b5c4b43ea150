"""What a training is asked for, in one record: checked once, kept in config.yaml, read back from there."""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import yaml

from .. import builder, catalog
from ..data import resizing
from ..data.splits import VALIDATION_SHARE
from ..errors import RequestError, unknown
from . import recipes
from .augmentation import RULES
from .recipes import Recipe

SCHEMA = "resdense-run/1"
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
JITS = ("auto", "on", "off")
MOST_SEED = 2**32 - 1  # NumPy's

# What a config.yaml of 0.1.0 lacks, and what its runs did: a run keeps the behaviour that it began with.
BEFORE = {"resize": None, "rules": 1, "tensorboard": False, "slim": None}
BEFORE_IN_RECIPE = {
    "optimizer": "sgd", "class_weights": None, "ema": 0.0, "patience": 0, "teacher": 0.0, "temperature": 1.0,
    "sparsity": 0.0,
}  # fmt: skip
NO_RESULT = ("tensorboard",)  # what changes nothing that is trained, so that a run may go on with another value


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
        seed: Of the weights, the order of the images, their augmentation and dropout; from 0 to MOST_SEED.
        deterministic: Repeat to the bit; without XLA.
        precision: Of PRECISIONS.
        jit: Of JITS: XLA by a timed trial, or as you say.
        tensorboard: Also write event files for TensorBoard.
        rules: How the recipe's augmentation is read, see augmentation.RULES.
        devices: Name of where the steps run, see `devices.OneDevice.name`.
        slim: Of a run of `resdense slim`, what it was asked for; then the net is that of checkpoints/slim.keras in the
            run folder, its teacher that of checkpoints/whole.keras, and `model` only a name. Else None.
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
    tensorboard: bool = False
    rules: int = RULES
    devices: str = "one"
    slim: dict | None = None

    def __post_init__(self):
        for name, known in (("precision", PRECISIONS), ("jit", JITS), ("model", catalog.BUILDERS)):
            if getattr(self, name) not in known and not (name == "model" and self.slim):
                raise unknown(name, getattr(self, name), known)
        self._set("recipe", recipes.recipe(self.recipe, self.model) if isinstance(self.recipe, str) else self.recipe)
        self._set("options", dict(self.options or {}))
        self._set("slim", None if self.slim is None else dict(self.slim))
        if (shape := self.options.get("input_shape")) is not None:
            builder.check_image_shape(shape, smallest=1)
        builder.check_integer("seed", self.seed, 0)
        if self.seed > MOST_SEED:
            raise RequestError(f"seed={self.seed} was given; it must be at most {MOST_SEED}")
        self._set("weights", None if self.weights is None else str(self.weights))
        self._set("data", str(self.data))
        if self.resize is not None:
            resizing.check(self.resize)

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    @classmethod
    def from_config(cls, config, recipe=None):
        """The request that `as_config` wrote, in this version or in an older one; with another `recipe` if given."""
        whole = {**BEFORE, **config}
        recipe = recipe or Recipe(**config["recipe"])
        return cls(**{key: whole[key] for key in FIELDS if key in whole} | {"recipe": recipe})

    def as_config(self):
        """As config.yaml keeps it."""
        config = {"schema": SCHEMA, **asdict(self), "recipe": self.recipe.as_dict()}
        return yaml.safe_load(yaml.safe_dump(config, sort_keys=False))  # a tuple is a list there

    def going_on(self, config):
        """This request for a run that `config` began, which does as 0.1.0 did where that is what it says, or lacks, and
        nothing else was asked for."""
        defaults = {field.name: field.default for field in fields(self)}
        kept = {key: old for key, old in BEFORE.items() if config.get(key, old) == old}
        return replace(self, **{key: old for key, old in kept.items() if getattr(self, key) == defaults[key]})

    def differences(self, config):
        """{key: phrase} of what the `config` of another run says otherwise, the keys of the recipe among the others."""
        before, asked = _flat(config), _flat(self.as_config())
        return {
            key: f"{key} is {before.get(key)!r} there and {asked.get(key)!r} here"
            for key in dict.fromkeys((*before, *asked))
            if before.get(key) != asked.get(key) and key not in NO_RESULT
        }


FIELDS = tuple(field.name for field in fields(TrainingRequest))


def read_config(path: str | Path) -> TrainingRequest:
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
    """The keys of a config and those of its recipe side by side, older ones' gaps filled."""
    outer = {**BEFORE, **{key: value for key, value in config.items() if key != "recipe"}}
    return outer | {**BEFORE_IN_RECIPE, **(config.get("recipe") or {})}

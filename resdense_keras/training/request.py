"""What a training is asked to do, as one record: checked once, kept in config.yaml, and read back from there."""

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

# Keys that a config.yaml of 0.1.0 lacks, with that version's behaviour: a run keeps the behaviour that it began with.
BEFORE = {"resize": None, "rules": 1, "tensorboard": False, "slim": None}
BEFORE_IN_RECIPE = {
    "optimizer": "sgd", "class_weights": None, "ema": 0.0, "patience": 0, "teacher": 0.0, "temperature": 1.0,
    "sparsity": 0.0,
}  # fmt: skip
NO_RESULT = ("tensorboard",)  # keys that do not change the training, so a run may be resumed with other values


@dataclass(frozen=True)
class TrainingRequest:
    """Everything that decides the result of a training: the same request on the same data is the same run.

    The place of the run folder, how often the state is saved, and what is printed are not part of it.

    Attributes:
        model: Catalogue name.
        options: Builder options.
        weights: A set of weights by name, or a file, to start from; or None.
        freeze: "stem" or a stage such as "stage3": layers up to and including it are not trained; or None.
        data: Data spec; its test split is not read.
        image_size, on_bad_image: For image folders, see data.load; the size defaults to the net's own.
        resize: How the photos of a folder come to that size, of data.resizing.RULES. None is what version 0.1 did:
            "crop", and val/ without test/ does not judge the epochs; a config.yaml without the key means that.
        held_out: Share of the training images that judge the epochs and are not trained on, see data.load.
        recipe: A Recipe, or a name, see `recipes.recipe`.
        seed: Seed of the weights, the order of the images, their augmentation and dropout; from 0 to MOST_SEED.
        deterministic: Repeat to the bit; without XLA.
        precision: A name of PRECISIONS.
        jit: A name of JITS: XLA on, off, or decided by a timed trial.
        tensorboard: Also write event files for TensorBoard.
        rules: How the recipe's augmentation is read, see augmentation.RULES.
        devices: Name of where the steps run, see `devices.OneDevice.name`.
        slim: For a run of `resdense slim` what it was asked to do. The net is then checkpoints/slim.keras in the run
            folder, the teacher, if the recipe has one, checkpoints/teacher.keras, and `model` only a name. For other
            runs None.
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
        if self.slim:
            self._check_slim()
        if (shape := self.options.get("input_shape")) is not None:
            builder.check_image_shape(shape, smallest=1)
        builder.check_integer("seed", self.seed, 0)
        if self.seed > MOST_SEED:
            raise RequestError(f"seed={self.seed} was given; it must be at most {MOST_SEED}")
        self._set("weights", None if self.weights is None else str(self.weights))
        self._set("data", str(self.data))
        if self.resize is not None:
            resizing.check(self.resize)

    def _check_slim(self):
        """Refuses what would have no effect, because the net and its weights come from files."""
        defaults = {field.name: field.default for field in fields(self)} | {"options": {}}
        for name in ("options", "weights", "freeze", "precision"):
            if getattr(self, name) != defaults[name]:
                raise RequestError(
                    f"{name}={getattr(self, name)!r} was given for a slim net, which takes layers and weights "
                    "from its own file, in float32",
                    f"leave {name} out",
                )

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
        """This request, for going on with the run of `config`: where that config says or implies the behaviour of
        0.1.0, and nothing else was asked for, the run keeps that behaviour."""
        defaults = {field.name: field.default for field in fields(self)}
        kept = {key: old for key, old in BEFORE.items() if config.get(key, old) == old}
        return replace(self, **{key: old for key, old in kept.items() if getattr(self, key) == defaults[key]})

    def differences(self, config):
        """{key: phrase} for each key, also of the recipe, in which the `config` of another run differs."""
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
        RequestError: there is no such file, or it is not of this version.
    """
    try:
        config = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"{path} cannot be read: {error}", "it is the config.yaml of a run folder") from error
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        raise RequestError(f"{path} is not a {SCHEMA}", "it was changed, or written by another version of resdense")
    return config


def _flat(config):
    """The keys of a config and of its recipe in one dict; keys that an older config lacks are filled in."""
    outer = {**BEFORE, **{key: value for key, value in config.items() if key != "recipe"}}
    return outer | {**BEFORE_IN_RECIPE, **(config.get("recipe") or {})}

"""How a net is trained, as data; every number has its source."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import RequestError, unknown
from .augmentation import AUGMENTATIONS

SCHEDULES = ("cosine", "linear", "steps")
OPTIMIZERS = ("sgd", "adamw")
CLASS_WEIGHTS = (None, "balanced")


def _check_number(name, value, low, high):
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
        raise RequestError(f"{name}={value!r} was given; it must be a number from {low} and below {high}")


@dataclass(frozen=True)
class Recipe:
    """The settings of one training. A run folder keeps them, and they repeat the run.

    Attributes:
        schedule: How the learning rate falls from its peak after a linear warm-up: "cosine" or "linear" to zero, or
            "steps": to a tenth at each of `drops_at`, which are shares of the whole training.
        warmup: Length of the warm-up as a share of the whole training, so that a shorter run keeps the shape.
        optimizer: "sgd" with momentum, or "adamw", whose first moment has `momentum`; its learning rates are a
            hundredth of SGD's.
        weight_decay: Weight decay of the kernels of convolutions and fully connected layers. For SGD it is L2 added to
            the gradient, as in the papers. For AdamW it is decoupled: the share of a weight that is subtracted in a
            step, times the learning rate.
        label_smoothing: Share of a label that is spread over all classes.
        augment: Changes of the training images, names of augmentation.AUGMENTATIONS.
        class_weights: "balanced" weights the loss of an image in inverse proportion to the number of images of its
            class, with mean 1 over the training images; or None.
        ema: Decay of a moving average of all weights, 0 for none. The average is judged and saved.
        patience: Number of epochs without a better held-out accuracy after which the training ends; 0 for never.
        teacher: Share of another net's answers in the loss, where the run has such a net (`resdense slim`).
        temperature: Temperature at which those answers are compared; above 1 the less likely classes count more.
        sparsity: Factor of the sum of all batch norms' absolute scales in the loss, as for a training of 125,000 steps
            whose scales begin at 0.5; `objectives.strength` converts it to this training. It drives scales to zero, so
            that channels can be removed later; 0 for none.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str = "cosine"
    drops_at: tuple = ()
    warmup: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    augment: tuple = ("shift", "mirror")
    optimizer: str = "sgd"
    class_weights: str | None = None
    ema: float = 0.0
    patience: int = 0
    teacher: float = 0.0
    temperature: float = 1.0
    sparsity: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "drops_at", tuple(self.drops_at))
        object.__setattr__(self, "augment", tuple(self.augment))
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RequestError(f"{name}={value!r} was given; it must be an integer of 1 or more")
        _check_number("learning_rate", self.learning_rate, 0, float("inf"))
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 0:
            raise RequestError(f"patience={self.patience!r} was given; it must be a number of epochs, 0 for no end")
        for name in ("warmup", "momentum", "label_smoothing", "ema"):
            _check_number(name, getattr(self, name), 0, 1)
        _check_number("teacher", self.teacher, 0, 1.0000001)
        _check_number("temperature", self.temperature, 1e-3, float("inf"))
        for name in ("weight_decay", "sparsity"):
            _check_number(name, getattr(self, name), 0, float("inf"))
        for share in self.drops_at:
            _check_number("an entry of drops_at", share, 0, 1)
        for name, known in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        if self.class_weights not in CLASS_WEIGHTS:
            raise unknown("class weights", self.class_weights, ("balanced", "none"))
        for name in self.augment:
            if name not in AUGMENTATIONS:
                raise unknown("augmentation", name, AUGMENTATIONS)

    def as_dict(self):
        """As YAML and JSON keep it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


_HE = "He et al. 2015, arXiv:1512.03385, section 4.2"
_HE_IMAGENET = "He et al. 2015, arXiv:1512.03385, section 3.4"
_HUANG = "Huang et al. 2017, arXiv:1608.06993, section 4.2"
_GOYAL = "Goyal et al. 2017, arXiv:1706.02677"
_PAGE = "Page 2018, How to train your ResNet, code cifar10-fast"
_ADAM = "Kingma and Ba 2015, arXiv:1412.6980, algorithm 1"
_ADAMW = "Loshchilov and Hutter 2019, arXiv:1711.05101"
_CONVNEXT = "Liu et al. 2022, arXiv:2201.03545, table 5"
_LI = "Li et al. 2020, arXiv:2002.11770, section 1: the usual choice"
_NONE = "not used in the source"
_OFF = {  # options that people ask for and none of the sources has
    "optimizer": ("sgd", "as in the sources"),
    "class_weights": (None, _NONE),
    "ema": (0.0, _NONE),
    "patience": (0, _NONE),
    "teacher": (0.0, "there is no other net"),
    "temperature": (1.0, "there is no other net"),
    "sparsity": (0.0, _NONE),
}
SPARSITY = (
    1e-5  # Liu et al. 2017, arXiv:1708.06519; the authors' commands for ResNet-164 and DenseNet-40 on CIFAR-10, in the
    # README of github.com/Eric-mingjie/network-slimming; VGG-19 has 1e-4 there
)

# {recipe: {field: (value, source)}}; `paper` is one of each family.
TABLE = {
    "compare": {  # small images, minutes on a CPU; what `resdense compare` uses
        "epochs": (10, "ours: minutes on two cores"),
        "batch_size": (32, "ours: 40 steps an epoch on the digits"),
        "learning_rate": (0.05, f"{_HUANG}: 0.1 at batch 64; in proportion to the batch: {_GOYAL}, section 2.1"),
        "schedule": ("cosine", "Loshchilov and Hutter 2017, arXiv:1608.03983; steps need more epochs"),
        "drops_at": ((), _NONE),
        "warmup": (0.2, f"{_PAGE}: 5 of 24 epochs"),
        "momentum": (0.9, f"{_HE}; {_HUANG}"),
        "nesterov": (True, _HUANG),
        "weight_decay": (1e-4, f"{_HE}; {_HUANG}"),
        "label_smoothing": (0.0, _NONE),
        "augment": (("shift", "mirror"), f"{_HE}; {_HUANG}"),
        **_OFF,
    },
    "fast": {  # one cycle, for minutes to an hour on a CPU
        "epochs": (20, f"ours, near {_PAGE}: 24"),
        "batch_size": (128, _HE),
        "learning_rate": (0.2, f"ours: twice {_HE}; one cycle bears more (Smith and Topin 2017, arXiv:1708.07120)"),
        "schedule": ("linear", _PAGE),
        "drops_at": ((), _NONE),
        "warmup": (0.2, f"{_PAGE}: 5 of 24 epochs"),
        "momentum": (0.9, f"{_HE}; {_PAGE}"),
        "nesterov": (True, _PAGE),
        "weight_decay": (5e-4, _PAGE),
        "label_smoothing": (0.1, "Szegedy et al. 2016, arXiv:1512.00567, section 7"),
        "augment": (("reflect", "mirror"), _PAGE),
        **_OFF,
    },
    "paper-resnet": {
        "epochs": (182, f"{_HE}: 64,000 steps of 128 of 45,000 images"),
        "batch_size": (128, _HE),
        "learning_rate": (0.1, _HE),
        "schedule": ("steps", _HE),
        "drops_at": ((0.5, 0.75), f"{_HE}: at 32,000 and 48,000 of 64,000 steps"),
        "warmup": (0.0, f"{_HE}: only ResNet-110 warms up, at 0.01 for about 400 steps"),
        "momentum": (0.9, _HE),
        "nesterov": (False, _HE),
        "weight_decay": (1e-4, _HE),
        "label_smoothing": (0.0, _NONE),
        "augment": (("shift", "mirror"), _HE),
        **_OFF,
    },
    "paper-densenet": {
        "epochs": (300, _HUANG),
        "batch_size": (64, _HUANG),
        "learning_rate": (0.1, _HUANG),
        "schedule": ("steps", _HUANG),
        "drops_at": ((0.5, 0.75), _HUANG),
        "warmup": (0.0, _NONE),
        "momentum": (0.9, _HUANG),
        "nesterov": (True, _HUANG),
        "weight_decay": (1e-4, _HUANG),
        "label_smoothing": (0.0, _NONE),
        "augment": (("shift", "mirror"), "Huang et al. 2017, section 4.1"),
        **_OFF,
    },
    "imagenet": {  # the same for both families
        "epochs": (90, _HUANG),
        "batch_size": (256, f"{_HE_IMAGENET}; {_HUANG}"),
        "learning_rate": (0.1, f"{_HE_IMAGENET}; {_HUANG}"),
        "schedule": ("steps", _HUANG),
        "drops_at": ((1 / 3, 2 / 3), f"{_HUANG}: after 30 and 60 of 90 epochs"),
        "warmup": (0.0, _NONE),
        "momentum": (0.9, f"{_HE_IMAGENET}; {_HUANG}"),
        "nesterov": (True, _HUANG),
        "weight_decay": (1e-4, f"{_HE_IMAGENET}; {_HUANG}"),
        "label_smoothing": (0.0, _NONE),
        "augment": (("crop", "mirror"), "Szegedy et al. 2015, arXiv:1409.4842, section 6: 8 to 100 % of the area"),
        **_OFF,
    },
    "adamw": {  # for whoever knows AdamW's numbers better
        "epochs": (20, "ours: as `fast`"),
        "batch_size": (128, "ours: as `fast`"),
        "learning_rate": (0.001, f"{_ADAM}; {_CONVNEXT} has 0.004 at batch 4096"),
        "schedule": ("cosine", _CONVNEXT),
        "drops_at": ((), _NONE),
        "warmup": (0.05, f"ours, near {_CONVNEXT}: 20 of 300 epochs"),
        "momentum": (0.9, f"{_ADAM}: beta 1"),
        "nesterov": (False, _NONE),
        "weight_decay": (0.05, _CONVNEXT),
        "label_smoothing": (0.1, _CONVNEXT),
        "augment": (("reflect", "mirror"), "ours: as `fast`"),
        **_OFF,
        "optimizer": ("adamw", _ADAMW),
    },
    "finetune": {  # from trained weights, new classes
        "epochs": (10, "ours: a few hundred images a class"),
        "batch_size": (32, "ours: what fits a small GPU"),
        "learning_rate": (0.01, _LI),
        "schedule": ("cosine", "ours: few epochs leave no room for steps"),
        "drops_at": ((), _NONE),
        "warmup": (0.1, "ours: the new head is random"),
        "momentum": (0.9, _LI),
        "nesterov": (True, "ours: as the families' other recipes"),
        "weight_decay": (1e-4, _LI),
        "label_smoothing": (0.1, "Szegedy et al. 2016, arXiv:1512.00567, section 7"),
        "augment": (("crop", "mirror"), "ours: as in `imagenet`"),
        **_OFF,
    },
    "slim": {  # a net that lost channels, from its repaired weights, with the original as teacher: `resdense slim`
        "epochs": (8, "ours: under an hour on two cores for CIFAR-10's small nets"),
        "batch_size": (128, _HE),
        "learning_rate": (0.03, "ours: a third of He et al.'s; the weights are trained already"),
        "schedule": ("cosine", "Loshchilov and Hutter 2017, arXiv:1608.03983; a second, higher one lost half a point"),
        "drops_at": ((), _NONE),
        "warmup": (0.05, "ours: the momentum begins at zero"),
        "momentum": (0.9, _HE),
        "nesterov": (True, _HUANG),
        "weight_decay": (1e-4, f"{_HE}; {_HUANG}"),
        "label_smoothing": (0.0, "the teacher's answers are soft already"),
        "augment": (("shift", "mirror"), f"{_HE}; {_HUANG}"),
        **_OFF,
        "teacher": (0.9, "Cho and Hariharan 2019, arXiv:1910.01348, section 3"),
        "temperature": (4.0, "Cho and Hariharan 2019, arXiv:1910.01348, section 3"),
    },
}  # fmt: skip
OFFERED = tuple(dict.fromkeys(name.partition("-")[0] for name in TABLE))  # as people name them: "paper" is two rows
RECIPES = {name: Recipe(**{field: value for field, (value, _) in row.items()}) for name, row in TABLE.items()}
FIELDS = tuple(field.name for field in fields(Recipe))


def recipe(name: str | Path, model: str | None = None, **changes: Any) -> Recipe:
    """A recipe by name or from a YAML file, with `changes` to its fields; a change to None leaves a field as it is.

    Args:
        name: A name of RECIPES; "paper", the recipe of the paper of `model`, which must be given then; the config.yaml
            of a run; or a .yaml file with fields of a recipe, and `base: NAME` of the recipe that has the others.
        model: Catalogue name.
    Raises:
        RequestError: no such recipe or field (the nearest is in the hint), or a value out of range.
    """
    changes = {field: value for field, value in changes.items() if value is not None}
    for field in changes:
        if field not in FIELDS:
            raise unknown("field of a recipe", field, FIELDS)
    if str(name).endswith((".yaml", ".yml")):
        return replace(_read(name, model), **changes)
    return replace(RECIPES[_key(name, model)], **changes)


def describe(name, model=None, chosen=None):
    """The recipe as YAML, each number followed by its source; `chosen` is the recipe with the changes that flags
    made."""
    key = name if str(name).endswith((".yaml", ".yml")) else _key(name, model)
    chosen = chosen or recipe(name, model)
    lines = []
    for field, value in chosen.as_dict().items():
        known, source = TABLE.get(key, {}).get(field, (None, None))
        same = (list(known) if isinstance(known, tuple) else known) == value
        lines.append(f"{field}: {_yaml(value)}  # {source if source and same else 'as given'}")
    return f"# {key}\n" + "\n".join(lines) + "\n"


def _key(name, model):
    if name == "paper":
        from ..catalog import family

        known = "other" if model is None else family(model)
        if known == "other":
            raise RequestError(
                "paper is a recipe for each family of the catalogue", "take paper-resnet or paper-densenet"
            )
        return "paper-densenet" if known == "densenet" else "paper-resnet"
    if name not in RECIPES:
        raise unknown("recipe", name, dict.fromkeys((*OFFERED, *RECIPES, "FILE.yaml")))
    return name


def _read(path, model):
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(
            f"the recipe {path} cannot be read: {error}", "give a YAML file of `field: value`"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("recipe"), dict):
        content = content["recipe"]  # a run's config.yaml
    if not isinstance(content, dict):
        raise RequestError(f"the recipe {path} is not a mapping", "write `field: value`, one per line")
    base = content.pop("base", None)
    for field in content:
        if field not in FIELDS:
            raise unknown(f"field in {path}:", field, (*FIELDS, "base"))
    lacking = [field for field in ("epochs", "batch_size", "learning_rate") if field not in content]
    if base is None and lacking:
        raise RequestError(f"the recipe {path} lacks {', '.join(lacking)}", "add them, or `base: NAME` of a recipe")
    try:
        return Recipe(**({} if base is None else RECIPES[_key(base, model)].as_dict()) | content)
    except TypeError as error:
        raise RequestError(f"the recipe {path} has a value of a wrong kind: {error}", "see `--show`") from error


def _yaml(value):
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)

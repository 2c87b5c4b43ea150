from .determinism import be_deterministic
from .evaluation import evaluate
from .loop import Training, fit
from .recipes import RECIPES, Recipe, recipe
from .request import TrainingRequest, read_config
from .runs import load_data, run, train
from .starts import build, freeze, start

__all__ = [
    "RECIPES",
    "Recipe",
    "Training",
    "TrainingRequest",
    "be_deterministic",
    "build",
    "evaluate",
    "fit",
    "freeze",
    "load_data",
    "read_config",
    "recipe",
    "run",
    "start",
    "train",
]

from .evaluation import evaluate
from .loop import Training, be_deterministic, fit
from .recipes import RECIPES, Recipe, recipe
from .runs import read_config, train
from .starts import build, freeze

__all__ = [
    "RECIPES",
    "Recipe",
    "Training",
    "be_deterministic",
    "build",
    "evaluate",
    "fit",
    "freeze",
    "read_config",
    "recipe",
    "train",
]

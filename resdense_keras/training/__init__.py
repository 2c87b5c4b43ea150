"""Recipes as data, and the training that follows them."""

from .fit import be_deterministic, fit
from .recipes import RECIPES, Recipe, recipe

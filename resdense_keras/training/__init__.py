"""Recipes as data, and the training that follows them."""

from dataclasses import replace

from .fit import Training, be_deterministic, fit
from .recipes import RECIPES, Recipe, recipe

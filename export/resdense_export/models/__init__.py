"""A model as its owner brings it: opened by its content, fit or refused, its pixels and its outputs understood."""

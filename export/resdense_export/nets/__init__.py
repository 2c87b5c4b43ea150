"""A Keras model as nodes and back, and the exact rewrites between."""

"""Turns a Keras model into nodes and back, and rewrites the nodes exactly."""

"""Judges files: the gates, their intervals, and the outputs that they compare with."""

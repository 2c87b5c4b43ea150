"""Understands other people's models: opens files by their content, refuses what cannot be exported, and finds out what
pixels and outputs mean."""

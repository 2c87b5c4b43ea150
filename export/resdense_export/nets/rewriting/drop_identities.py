"""Layers that do nothing at inference."""

from .editing import Editor


def drop_identities(nodes):
    """Removes dropout, noise and linear activations.

    Why: they split patterns that later passes look for, and some reach the file as operators.
    Pattern: Identity, which reading.read makes from all of them.
    """
    graph = Editor(nodes)
    for node in graph.kinds("Identity"):
        graph.drop(node)
        graph.changed(node)
    return graph.done()

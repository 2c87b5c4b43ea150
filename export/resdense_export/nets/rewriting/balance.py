"""The channels of a concatenation on one scale."""

import numpy as np

from .editing import Editor, is_relu

CARRIERS = ("Concatenate", "AveragePooling2D", "MaxPooling2D", "ZeroPadding2D")  # a positive factor passes through
LIMITS = (1e-4, 1e4)  # largest factor: a channel that never varied has almost no deviation


def balance(nodes):
    """Scales each convolution whose output only batch norms read, so that its channels have deviation 1, and mean 0
    where possible.

    Why: a concatenation is one tensor with one 8-bit range, but the deviations of its channels differ a hundredfold.
    And `as_maximum` moves a batch norm's scale into the next convolution's weights, which must share a range too. The
    first norm that reads a channel knows its mean and deviation from training. Both are moved into the convolution that
    makes the channel, and removed from every norm that reads it.
    Pattern: Conv2D -> Concatenate, pooling, ReLU ... -> Affine from batch norms at every end. These are dense blocks,
    and also a stem with ReLU and max pooling, where only the deviation moves, because neither lets a shift through.
    """
    graph, order = Editor(nodes), {node.name: number for number, node in enumerate(nodes)}
    for node in graph.kinds("Conv2D"):
        ends, shifts, why = _ends(graph, node)
        if why:
            graph.kept(node, why)
            continue
        norm, start = min(ends, key=lambda end: order[end[0].name])
        own = slice(start, start + node.channels)
        factor = 1 / np.clip(norm.weights["deviation"][own], *LIMITS)
        centre = norm.weights["mean"][own] if shifts else np.zeros(node.channels)
        bias = node.weights.get("bias", 0.0)
        graph.change(node, weights={"kernel": node.weights["kernel"] * factor, "bias": (bias - centre) * factor})
        for name, begin in {(end.name, begin) for end, begin in ends}:
            graph.change(graph[name], weights=_undone(graph[name].weights, begin, factor, centre))
        graph.changed(node)
    return graph.done()


def _ends(graph, node):
    """([(Affine, its channel at which those of `node` begin)], whether a shift passes too, why it cannot be done)."""
    ends, shifts, waiting = [], True, [(node, 0)]
    while waiting:
        current, start = waiting.pop(0)
        for user in graph.users(current):
            if user.kind == "Affine" and "deviation" in user.weights:
                ends.append((user, start))
            elif user.kind in CARRIERS or is_relu(user):
                shifts = shifts and user.kind not in ("ZeroPadding2D", "Activation")
                waiting.extend((user, start + offset) for offset in _offsets(graph, user, current))
            else:
                return [], False, f"{user.name} reads it, which is {user.kind}"
    return ends, shifts, None if ends else "nothing reads it"


def _offsets(graph, user, source):
    """The channels of `user` at which those of `source` begin."""
    if user.kind != "Concatenate":
        return [0]
    sizes = [graph[name].channels for name in user.inputs]
    return [sum(sizes[:number]) for number, name in enumerate(user.inputs) if name == source.name]


def _undone(weights, start, factor, centre):
    """Weights of an Affine such that it gives the same from (x - centre) * factor on the channels from `start`."""
    changed = {key: np.array(value) for key, value in weights.items()}
    own = slice(start, start + len(factor))
    changed["shift"][own] += weights["scale"][own] * centre
    changed["scale"][own] /= factor
    changed["mean"][own] = (weights["mean"][own] - centre) * factor
    changed["deviation"][own] *= factor
    return changed

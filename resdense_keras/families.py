"""The family of a net, told by how its blocks are joined: by sums (ResNet) or by concatenations (DenseNet)."""

import re

from . import compat

FARTHEST = 40  # largest number of operations in a branch
_OWN = re.compile(r"stage\d+_block\d+_\w+")
# Layers that neither family has; other nets may add and concatenate too.
_FOREIGN = (
    "DepthwiseConv2D",
    "SeparableConv2D",
    "Multiply",
    "LayerNormalization",
    "MultiHeadAttention",
    "Conv2DTranspose",
)


def recognised(model):
    """ "resnet", "densenet", "plain" (a net of this package without shortcuts) or "other", told only by structure."""
    calls = list(_calls(model))
    kinds = [type(call.operation).__name__ for call in calls]
    if any(kind in _FOREIGN for kind in kinds):
        return "other"
    sums = [call for call, kind in zip(calls, kinds, strict=True) if kind == "Add" and _joins(call)]
    dense = [call for call, kind in zip(calls, kinds, strict=True) if kind == "Concatenate" and _joins(call)]
    others = kinds.count("Concatenate") - len(dense) > len(dense) // 4
    if len(dense) >= 2 and not sums and not others:
        return "densenet"
    if len(sums) >= 2 and not dense and not others:
        return "resnet"
    own = sum(bool(_OWN.fullmatch(call.operation.name)) for call in calls)
    return "plain" if own >= 4 and not sums and not dense else "other"


def _calls(model):
    for call in compat.calls(model):
        if not call.is_input:
            inner = compat.graph(call.operation)
            if compat.is_graph(inner):
                yield from _calls(inner)
            else:
                yield call


def _joins(call):
    """Whether two inputs of a sum or concatenation come from the same tensor, one of them through a convolution."""
    tensors = call.arguments.keras_tensors
    if len(tensors) != 2:
        return False
    before = [_before(tensor) for tensor in tensors]
    (near, far), (steps_near, steps_far) = tensors, before
    if id(near) in steps_far or id(far) in steps_near:
        return True  # the shortcut itself
    return bool(set(steps_near) & set(steps_far)) and type(call.operation).__name__ == "Add"  # a projection


def _before(tensor):
    """Ids of the tensors that a tensor was made of, up to FARTHEST operations back."""
    found, waiting = set(), [(tensor, 0)]
    while waiting:
        current, steps = waiting.pop()
        operation, node, _ = compat.maker(current)
        if steps > FARTHEST:
            continue
        for source in compat.sources(operation, node):
            if id(source) not in found:
                found.add(id(source))
                waiting.append((source, steps + 1))
    return found

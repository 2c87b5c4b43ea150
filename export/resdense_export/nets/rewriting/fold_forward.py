"""Folds a batch norm, or the input's normalisation, into the convolutions that read it."""

import numpy as np

from .editing import Editor

# Largest distance of -shift / scale from a channel's mean, in deviations of the channel, where only the scale moves
# into what follows. The 8-bit range must then include that number, or the mean as seen from it; a channel that a batch
# norm has almost switched off would leave only a few levels for the other channels. benchmarks/limits.py tries limits
# with `as_maximum` on training images; this is the largest at which int8 is not farther from the float file than at the
# smallest.
FARTHEST = 10


def fold_forward(nodes):
    """Folds scale and shift into the Conv2D and Dense layers that read them.

    Why: the convolution multiplies and adds anyway.
    Pattern: Affine -> [zero padding] -> Conv2D or Dense, and nothing else reads the Affine, no depthwise convolution
    either. Without padding scale and shift both fold. A convolution that pads with zeros takes only the scale: the
    zeros are added after the shift, so merging the shift would change every pixel at the border. The shift stays as one
    ADD before the padding. Where that would spoil 8-bit ranges, the norm stays whole, for `as_maximum` or
    `as_depthwise`.
    """
    graph = Editor(nodes)
    for node in graph.kinds("Affine"):
        readers, why = _readers(graph, node)
        if not readers:
            graph.kept(node, why)
        elif not any(_pads(graph, reader) for reader in readers):
            for reader in readers:
                graph.change(reader, weights=after(reader, node.weights["scale"], node.weights["shift"]))
            graph.drop(node)
            graph.changed(node)
        elif (node.weights["scale"] == 0).any():
            graph.kept(node, "a scale of zero cannot be divided out of the shift")
        elif "deviation" in node.weights and not (distance := np.abs(distances(node)).max()) <= FARTHEST:
            graph.kept(node, f"a shift that puts a channel {distance:.3g} deviations from 0 would spoil 8-bit ranges")
        elif (node.weights["scale"] != 1).any():
            scale, shift = node.weights["scale"], node.weights["shift"]
            for reader in readers:
                graph.change(reader, weights=after(reader, scale, np.zeros_like(shift)))
            graph.change(node, weights={"scale": np.ones_like(scale), "shift": shift / scale})
            graph.changed(node)
    return graph.done()


def _readers(graph, node):
    """(the convolutions and dense layers that read `node`, why there are none); none where anything else reads it."""
    found = []
    for user in graph.users(node):
        steps = graph.users(user) if user.kind == "ZeroPadding2D" else [user]
        for reader in steps:
            if reader.kind not in ("Conv2D", "Dense"):
                return [], f"{reader.name} after it is {reader.kind}"
            found.append(reader)
    return found, "nothing reads it"


def _pads(graph, reader):
    if graph.source(reader).kind == "ZeroPadding2D":
        return True
    return (
        reader.kind == "Conv2D"
        and reader.attributes["padding"] == "same"
        and max(reader.weights["kernel"].shape[:2]) > 1
    )


def distances(node):
    """Distance of the mean of each channel of a batch norm above -shift / scale, in deviations of the channel; 0 where
    the scale is zero, because such a channel has no bound."""
    scale, shift, mean, deviation = (node.weights[key] for key in ("scale", "shift", "mean", "deviation"))
    return np.where(scale == 0, 0, (shift / np.where(scale == 0, 1, scale) + mean) / deviation)


def after(node, scale, shift):
    """Weights with which `node` computes on x what it computed on scale * x + shift."""
    kernel = node.weights["kernel"]  # (..., C / groups, outputs), the outputs of one group behind the other's
    groups = node.attributes.get("groups", 1)
    scales, shifts = (
        numbers.reshape(groups, -1).repeat(kernel.shape[-1] // groups, axis=0).T for numbers in (scale, shift)
    )  # (C / groups, outputs)
    moved = (kernel.reshape(-1, *kernel.shape[-2:]).sum(0) * shifts).sum(0)
    weights = {"kernel": kernel * scales}
    if "bias" in node.weights or moved.any():
        weights["bias"] = node.weights.get("bias", 0.0) + moved
    return weights

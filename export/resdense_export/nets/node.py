"""One operation of a net as data: reading makes it, rewriting changes it, emitting builds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Node:
    """One operation with one output.

    Attributes:
        name: Unique in its graph.
        kind: "Input", "Output", "Conv2D", "DepthwiseConv2D", "Dense", "Affine" (x * scale + shift per channel: batch
            norms, whose mean and deviation are kept beside, and rescalings), "Activation", "Add", "Concatenate",
            "ZeroPadding2D", "Cropping2D", "LowestPadding2D" (pads with -inf), "MirrorPadding2D", "MaxPooling2D",
            "AveragePooling2D", "GlobalAveragePooling2D", "Maximum" (with a constant a channel), "Slice",
            "ChannelPadding", "Reshape",
            "RowPadding" (zeros above, below and at both ends of rows of numbers), "LeakyReLU" (a slope a channel),
            "Larger" (of two inputs), "GlobalMaxPooling2D", "Identity", "Cast" (integers made float), "Carried" (an
            operation that no pass knows), "Pick" (one of several outputs of a Carried).
        inputs: Names of the nodes that it reads.
        shape: Shape of its output without the batch; None where a size is open.
        dtype: Name of the dtype policy that it computes with.
        attributes: Settings, by Keras' names.
        weights: Arrays by Keras' names; float64 while passes compute with them.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    attributes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    weights: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def channels(self):
        """Size of the last axis."""
        return self.shape[-1]


@dataclass(frozen=True)
class Reference:
    """A placeholder in a Carried node's arguments for the output of its input number `position`."""

    position: int


def free_name(name, taken):
    """`name`, or `name` with a number added where it is in `taken`."""
    candidate, number = name, 1
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate

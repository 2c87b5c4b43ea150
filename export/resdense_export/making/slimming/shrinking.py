"""Computes what is left of a net if only some groups of channels stay: widths, dead branches, unneeded layers."""

from dataclasses import dataclass

import numpy as np

from .channels import PRODUCERS


@dataclass(frozen=True, eq=False)
class Shape:
    """A net with only some of its groups.

    Attributes:
        keep: (groups,) bool: the choice, without groups that are removed as a consequence: channels without a reader,
            and those of a layer without input.
        widths: {node: channels left} for the nodes that run.
        broken: The first node that could not run, which makes the choice impossible; or None.
    """

    keep: np.ndarray
    widths: dict
    broken: str | None = None


def shape_of(net, keep):
    """The Shape of a Net of which only the groups `keep` (one bool per group) stay."""
    keep = keep.copy()
    while True:
        alive, broken = _alive(net, keep)
        needed = _needed(net, alive)
        left = _left(net, keep, alive, needed)
        if (left == keep).all():
            break
        keep = left
    widths = {name: int(keep[net.groups[name]].sum()) for name in net.groups if name in alive and name in needed}
    return Shape(keep, widths, broken)


def _alive(net, keep):
    """(nodes that compute something, the first node that lacks a necessary input)."""
    alive, broken = set(), None
    for node in net.nodes:
        kind, inputs = net.kinds[node.name], [name in alive for name in node.inputs]
        if kind in ("Add", "Concatenate"):
            whole = any(inputs)
            lost = [name for name, there in zip(node.inputs, inputs, strict=True) if not there]
            if kind == "Concatenate" and any(keep[net.groups[name]].any() for name in lost):
                broken = broken or node.name  # channels that are tied to others were to come from a layer without input
        else:
            whole = all(inputs)
        own = net.groups[node.name]
        if whole and (not len(own) or keep[own].any()):
            alive.add(node.name)
        elif kind not in (*PRODUCERS, "Add", "Concatenate") and (kind == "Output" or net.fixed[own].any()):
            broken = broken or node.name
    return alive, broken


def _needed(net, alive):
    """The nodes from which an output can be reached."""
    needed, by_name = set(), net.by_name
    waiting = [node.name for node in net.nodes if node.kind in ("Input", "Output")]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting.extend(source for source in by_name[name].inputs if source in alive)
    return needed


def _left(net, keep, alive, needed):
    """`keep` without the groups that no running layer makes."""
    made = net.fixed.copy()
    for node in net.nodes:
        if net.kinds[node.name] in PRODUCERS and node.name in alive and node.name in needed:
            made[net.groups[node.name]] = True
    return keep & made

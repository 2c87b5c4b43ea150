"""Which groups of channels leave: by the smallest loss for what they save, down a stair at a time."""

import heapq
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from resdense_keras.errors import RequestError

from .channels import PRODUCERS
from .costs import TARGETS, cost, instructions, macs
from .shrinking import shape_of

LEAST_LEFT = 0.05  # of the MACs: what a target may ask for


@dataclass(frozen=True, eq=False)
class Plan:
    """A choice of groups, and what it costs.

    Attributes:
        keep: (groups,) bool.
        shape: The shrinking.Shape of it.
        macs: (before, after).
        parameters: (before, after) of the layers with weights; batch norms have four a channel.
        instructions: {scheme: (before, after)}, estimates in Arm instructions.
        widths: {layer: (before, after)} of convolutions and dense layers that lose outputs; 0 where the layer goes.
        removed_blocks: Names of additions and concatenations that lost a branch.
    """

    keep: np.ndarray
    shape: object
    macs: tuple
    parameters: tuple
    instructions: dict
    widths: dict
    removed_blocks: tuple


def check_share(share, name="--macs"):
    """Refuses a share of the original that no slim net can have."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not math.isfinite(share) or not 0 < share < 1:
        raise RequestError(
            f"{name} {share} was given; it must be a share of the original, above 0 and below 1", f"such as {name} 0.5"
        )


def plan(net, scores, share, target="phone-int8"):
    """The Plan of a Net whose MACs are at most `share` of the whole.

    Channels are grouped by the layers that make them. Of each such site the least valuable channels leave together, as
    many as bring its layer down to the next stair of the target; next is always the site that loses least for what it
    saves.

    Raises:
        RequestError: no choice has so few MACs; the message says how few there are.
    """
    check_share(share)
    chosen, whole = TARGETS[target], macs(net, shape_of(net, net.everything))
    keep = net.everything
    for keep in descent(net, scores, chosen):
        if macs(net, shape_of(net, keep)) <= share * whole:
            return described(net, keep)
    least = macs(net, shape_of(net, keep)) / whole
    raise RequestError(
        f"--macs {share:g} was asked for; the smallest that can be is {least:.3g} of the original's MACs"
        + _around(net),
        f"ask for --macs {math.ceil(100 * least) / 100:g} or more",
    )


def _around(net):
    named = list(net.uncut)
    if not named:
        return ""
    more = f" and {len(named) - 3} others" if len(named) > 3 else ""
    return f": {', '.join(named[:3])}{more} cannot be cut"


def descent(net, scores, target):
    """The choices (groups,) bool on the way down, each smaller than the one before."""
    keep, sites = net.everything, _sites(net, scores)
    order = {name: number for number, name in enumerate(sites)}

    def price(site):
        """(loss for what is saved, order, groups) of the next step of a site, or None."""
        step = _step(net, keep, sites[site], site, target)
        if not len(step):
            return None
        trial = keep.copy()
        trial[step] = False
        saved = cost(net, keep, target) - cost(net, trial, target)
        if saved == -math.inf:
            return None
        gone = sites[site][~keep[sites[site]]]
        after = np.concatenate([gone, step])
        loss = max(scores.of(after, whole=len(after) == len(sites[site])) - scores.of(gone), 0.0)
        return (loss / saved if saved > 0 else math.inf, order[site], site)

    waiting = [found for site in sites if (found := price(site))]
    heapq.heapify(waiting)
    while waiting:
        _, _, site = heapq.heappop(waiting)
        now = price(site)  # what others lost has changed what this one saves
        if now is None:
            continue
        if waiting and now[:2] > waiting[0][:2]:
            heapq.heappush(waiting, now)
            continue
        keep[_step(net, keep, sites[site], site, target)] = False
        keep = shape_of(net, keep).keep
        yield keep.copy()
        if after := price(site):
            heapq.heappush(waiting, after)


def _sites(net, scores):
    """{makers of the channels: their groups, the least valuable first}."""
    found, single = defaultdict(list), scores.single
    for group in np.flatnonzero(~net.fixed):
        found[net.born[int(group)]].append(int(group))
    return {site: np.array(sorted(own, key=lambda group: (single[group], group))) for site, own in found.items()}


def _step(net, keep, own, site, target):
    """The groups of a site that leave next: down to the next stair of its first layer that still runs."""
    left = own[keep[own]]
    width = int(keep[net.groups[site[0]]].sum())
    return left[: (width - 1) % target.stair + 1] if len(left) else left


def described(net, keep):
    """The Plan of a choice of groups."""
    whole, shape = shape_of(net, net.everything), shape_of(net, keep)
    layers = [node for node in net.nodes if net.kinds[node.name] in PRODUCERS and node.name in whole.widths]
    widths = {node.name: (whole.widths[node.name], shape.widths.get(node.name, 0)) for node in layers}
    blocks = [
        node.name
        for node in net.nodes
        if net.kinds[node.name] in ("Add", "Concatenate")
        and any(name in whole.widths and name not in shape.widths for name in node.inputs)
    ]
    return Plan(
        shape.keep,
        shape,
        (macs(net, whole), macs(net, shape)),
        (_parameters(net, whole), _parameters(net, shape)),
        {scheme: tuple(instructions(net, one, scheme) for one in (whole, shape)) for scheme in ("fp32", "int8")},
        {name: pair for name, pair in widths.items() if pair[0] != pair[1]},
        tuple(blocks),
    )


def _parameters(net, shape):
    """Numbers in the layers that run, of their present widths."""
    total = 0
    for node in net.nodes:
        operation = net.calls.get(node.name, {}).get("operation")
        if node.name not in shape.widths or not getattr(operation, "weights", None):
            continue
        into = int(shape.keep[net.groups[node.inputs[0]]].sum())
        out, kind = shape.widths[node.name], net.kinds[node.name]
        if kind in PRODUCERS:
            kernel = math.prod(node.attributes.get("kernel_size", (1,)))
            total += kernel * into * out + out * bool(operation.use_bias)
        elif kind in ("DepthwiseConv2D", "Affine", "LeakyReLU"):
            whole = len(net.groups[node.name])
            total += sum(math.prod(weight.shape) for weight in operation.weights) * out // whole
        else:
            total += sum(math.prod(weight.shape) for weight in operation.weights)
    return total

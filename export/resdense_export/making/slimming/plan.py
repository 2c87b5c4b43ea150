"""Chooses the groups of channels to remove: always those with the smallest loss for what they save, one stair at a
time."""

import heapq
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from resdense_keras.errors import RequestError

from .channels import PRODUCERS
from .costs import TARGETS, Counted, instructions, macs
from .shrinking import shape_of
from .solved import biased

NAMES = {"macs": "MACs", "instructions": "Arm instructions"}


@dataclass(frozen=True, eq=False)
class Plan:
    """A choice of groups, and its costs.

    Attributes:
        keep: (groups,) bool.
        shape: The shrinking.Shape of it.
        macs: (before, after).
        parameters: (before, after) for the layers with weights; batch norms have four per channel.
        instructions: {scheme: (before, after)}, estimates in Arm instructions.
        widths: {layer: (before, after)} for convolutions and dense layers that lose outputs; 0 where the layer is
            removed.
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


def plan(net, scores, share, target="phone-int8", of="macs", progress=None, judge=None):
    """The Plan of a Net whose MACs (or instructions, see costs.MEASURES) are at most `share` of the whole.

    Channels are grouped by the layers that make them. At each such site the least valuable channels are removed
    together, as many as bring its layer down to the next stair of the target. The next step is always at the site that
    loses least for what it saves. The plan with a step that reaches the share is a candidate, and the search goes on
    without that step. Where a candidate saves more than it must, earlier steps are undone, those that lost most first.
    The candidate with the smallest total loss is taken; with `judge`, of the few with the smallest the one that it says
    is nearest to the whole net.

    Args:
        progress: Function of the share that is left so far, called at each step.
        judge: A candidates.AfterRepair.
    Raises:
        RequestError: no choice has so few; the message has the smallest possible share.
    """
    check_share(share)
    chosen = TARGETS[target]
    everything = shape_of(net, net.everything)
    whole = getattr(Counted(net.original, chosen, everything), of)
    descent, wanted = _Descent(net, scores, chosen, Counted(net, chosen, everything)), judge.candidates if judge else 1
    found = descent.to(share * whole, of, wanted, progress or _ignored)
    if found:
        return described(net, found[0] if len(found) == 1 else min(found, key=judge.change))
    least, flag = getattr(descent.now, of) / whole, {"macs": "--macs", "instructions": "--latency"}[of]
    enough = math.ceil(100 * least) / 100
    hints = [f"ask for {flag} {enough:g} or more"] if enough < 1 else []
    if target != "macs" and of == "macs":
        hints.append("pass --for macs, which removes single channels and may reach less")
    raise RequestError(
        f"{flag} {share:g} was asked for; the smallest that can be reached is {least:.3g} of the original's {NAMES[of]}"
        + _around(net),
        ", or ".join(hints) or "export the net as it is",
    )


def _around(net):
    named = list(net.uncut)
    if not named:
        return ""
    more = f" and {len(named) - 3} others" if len(named) > 3 else ""
    return f": {', '.join(named[:3])}{more} keep their channels"


def _ignored(share):
    pass


@dataclass(frozen=True, eq=False)
class _Step:
    """What was removed at a site at once: `groups`, with those that left as a consequence, and the `loss` of it."""

    site: tuple
    groups: np.ndarray
    loss: float


class _Descent:
    """The way down from a whole net (a Counted), one step at one site at a time."""

    def __init__(self, net, scores, target, whole):
        self.net, self.scores, self.target, self.now = net, scores, target, whole
        self.taken = []
        self.sites = _sites(net, scores)
        self.order = {name: number for number, name in enumerate(self.sites)}

    def to(self, goal, of, wanted, progress):
        """[groups that stay] of the `wanted` candidates, with `of` at most `goal`, that lose least; the best first."""
        if getattr(self.now, of) <= goal:
            return [self.now.shape.keep]  # scales of zero alone can make a file cheaper
        whole, waiting, found = getattr(self.now, of), [], {}
        for site in self.sites:
            progress(1.0)
            if step := self.next(site):
                waiting.append(self.price(site, *step))
        heapq.heapify(waiting)
        lost, bound = 0.0, math.inf  # a candidate that loses as much, or more, is not wanted
        while waiting:
            progress(getattr(self.now, of) / whole)
            *_, site = heapq.heappop(waiting)
            step = self.next(site)  # what others lost has changed what this one saves
            if step is None:
                continue
            price = self.price(site, *step)
            if waiting and price[:2] > waiting[0][:2]:
                heapq.heappush(waiting, price)
                continue
            loss, after = step
            if getattr(after, of) <= goal:  # others may reach the goal for less
                total, keep = self.filled(lost + loss, after, site, lambda one: getattr(one, of) <= goal)
                key = keep.tobytes()
                found[key] = min(found.get(key, (total, keep)), (total, keep), key=_loss)
                bound = _loss(sorted(found.values(), key=_loss)[wanted - 1]) if len(found) >= wanted else math.inf
                continue
            if lost + loss >= bound:
                continue  # a step that saves less may lose less
            self.taken.append(_Step(site, np.flatnonzero(self.now.shape.keep & ~after.shape.keep), loss))
            self.now, lost = after, lost + loss
            if step := self.next(site):
                heapq.heappush(waiting, self.price(site, *step))
        return [keep for _, keep in sorted(found.values(), key=_loss)[:wanted]]

    def filled(self, lost, candidate, last, fits):
        """(loss, groups that stay) of a candidate whose last step was at the site `last`, with the steps undone that
        `fits` still allows: of the last steps at each other site always the one that lost most."""
        taken = [step for step in self.taken if step.site != last and step.loss > 0]
        while True:
            latest = {step.site: step for step in taken}
            for step in sorted(latest.values(), key=lambda step: step.loss, reverse=True):
                larger = candidate.having(step.groups)
                if larger is None or not self.on_stair(step.site, larger):
                    continue  # it may be possible when others are back
                if fits(larger):
                    break
                taken = [other for other in taken if other.site != step.site]  # the candidate only grows
            else:
                return lost, candidate.shape.keep
            candidate, lost = larger, lost - step.loss
            taken.remove(step)

    def on_stair(self, site, counted):
        """Whether a site's first layer has its whole width, or one that saves something."""
        groups = self.net.groups[site[0]]
        width = int(counted.shape.keep[groups].sum())
        return width == len(groups) or width % self.target.stair == 0

    def next(self, site):
        """(loss, the Counted after it) of the next step of a site, or None."""
        step = self.step(site)
        after = self.now.without(step) if len(step) else None
        return None if after is None else (self.loss(site, after), after)

    def price(self, site, loss, after):
        """(loss for what is saved, order, site) of a step."""
        saved = getattr(self.now, self.target.ranks) - getattr(after, self.target.ranks)
        return (loss / saved if saved > 0 else math.inf, self.order[site], site)

    def loss(self, site, after):
        """How much more the answers change after the next step at a site, which leaves the Counted `after`: by its own
        channels and by all that leave as a consequence, such as a branch of which one factor is gone."""
        own, keep = self.sites[site], self.now.shape.keep
        gone, leave = own[~keep[own]], np.flatnonzero(keep & ~after.shape.keep)
        whole = not after.shape.keep[own].any() or len(leave) > len(self.step(site))
        return max(self.scores.of(np.concatenate([gone, leave]), whole) - self.scores.of(gone), 0.0)

    def step(self, site):
        """The groups of a site that are removed next: down to the next stair of its first layer that still runs."""
        own, keep = self.sites[site], self.now.shape.keep
        left = own[keep[own]]
        width = int(keep[self.net.groups[site[0]]].sum())
        return left[: (width - 1) % self.target.stair + 1] if len(left) else left


def _loss(candidate):
    return candidate[0]


def _sites(net, scores):
    """{makers of the channels: their groups, the least valuable first}."""
    found, worth = defaultdict(list), scores.worth
    for group in np.flatnonzero(~net.fixed):
        found[net.born[int(group)]].append(int(group))
    return {site: np.array(sorted(own, key=lambda group: (worth[group], group))) for site, own in found.items()}


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
        (_parameters(net, whole), _parameters(net, shape) + sum(shape.widths[name] for name in biased(net, shape))),
        {
            scheme: (instructions(net.original, whole, scheme), instructions(net, shape, scheme))
            for scheme in ("fp32", "int8")
        },
        {name: pair for name, pair in widths.items() if pair[0] != pair[1]},
        tuple(blocks),
    )


def _parameters(net, shape):
    """Parameters of the layers that run, at their present widths; a layer with several places counts once."""
    total, seen = 0, set()
    for node in net.nodes:
        operation = net.calls.get(node.name, {}).get("operation")
        if node.name not in shape.widths or not getattr(operation, "weights", None) or id(operation) in seen:
            continue
        seen.add(id(operation))
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

"""Says which layers of a slim net are solved again after the plan (repair.py), and which of them need a bias for it."""

from .channels import PRODUCERS
from .norms import is_norm


def changed(net, shape):
    """Nodes of a slim net, a Shape of a channels.Net, that differ from the whole net's by their own channels or by what
    they read."""
    found = set()
    for node in net.nodes:
        lost = any(source not in shape.widths or source in found for source in node.inputs)
        if node.name in shape.widths and (lost or not shape.keep[net.groups[node.name]].all()):
            found.add(node.name)
    return found


def solved(net, shape):
    """Layers that are solved again: convolutions and dense layers whose input changed, and that are called once."""
    differing = changed(net, shape)
    return {
        node.name
        for node in net.nodes
        if node.name in shape.widths
        and net.kinds[node.name] in PRODUCERS
        and node.name not in net.uncut
        and node.inputs[0] in differing
    }


def biased(net, shape):
    """Layers that are shifted by being solved and cannot store a shift: they have no bias, and no batch norm after
    them. A slim net has a bias there."""
    users = net.users()
    return {
        name
        for name in solved(net, shape)
        if not net.calls[name]["operation"].use_bias and norm_behind(net, users, name) is None
    }


def norm_behind(net, users, name):
    """The batch norm that is the only reader of a layer, or None."""
    behind = users[name]
    if len(behind) != 1 or not is_norm(behind[0]) or behind[0].name in net.uncut:
        return None
    return behind[0].name

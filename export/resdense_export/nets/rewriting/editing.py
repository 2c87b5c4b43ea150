"""The tools of every pass: a record of what it did, and a small editor for a list of nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..node import Node, free_name


@dataclass(frozen=True)
class Rewrite:
    """The result of one pass.

    Attributes:
        nodes: The graph after it.
        changed: Names of the nodes that it changed, replaced or removed.
        kept: {name: why} of those that it considered and left.
    """

    nodes: tuple[Node, ...] = field(repr=False)
    changed: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)


class Editor:
    """A graph that is being changed; `done` returns it with the names of changed and kept nodes.

    Nodes are looked up by name; `users` are computed from the present state.
    """

    def __init__(self, nodes):
        self._nodes = {node.name: node for node in nodes}
        self._users = {node.name: [] for node in nodes}
        self._changed, self._kept = [], {}
        for node in nodes:
            for source in node.inputs:
                self._users[source].append(node.name)

    def __getitem__(self, name):
        return self._nodes[name]

    def source(self, node):
        """The node that `node` reads first."""
        return self._nodes[node.inputs[0]]

    def users(self, node):
        """The nodes that read `node`."""
        return [self._nodes[name] for name in self._users[node.name]]

    def sole_user(self, node):
        """The one node that reads `node`, None where there are several."""
        found = self.users(node)
        return found[0] if len(found) == 1 else None

    def kinds(self, *kinds):
        """The nodes of these kinds in order, each in its present state; edits during the loop are allowed."""
        for name in list(self._nodes):
            if name in self._nodes and self._nodes[name].kind in kinds:
                yield self._nodes[name]

    def add(self, node):
        """Adds a node, under another name where its own is taken; returns it."""
        return self.change(node, name=free_name(node.name, self._nodes))

    def put(self, node):
        """Adds a node, or replaces the one of the same name."""
        old = self._nodes.get(node.name)
        for source in old.inputs if old else ():
            self._users[source].remove(node.name)
        self._nodes[node.name] = node
        self._users.setdefault(node.name, [])
        for source in node.inputs:
            self._users[source].append(node.name)

    def change(self, node, **fields):
        """Replaces fields of a node; returns the new one."""
        changed = replace(node, **fields)
        self.put(changed)
        return changed

    def drop(self, node):
        """Removes a node with one input; its readers then read that input."""
        for user in self.users(node):
            inputs = tuple(node.inputs[0] if name == node.name else name for name in user.inputs)
            self.put(replace(self._nodes[user.name], inputs=inputs))
        for source in node.inputs:
            self._users[source].remove(node.name)
        del self._nodes[node.name], self._users[node.name]

    def changed(self, node):
        """Notes that the pass changed `node`."""
        self._changed.append(node.name)

    def kept(self, node, why):
        """Notes that the pass left `node`."""
        self._kept[node.name] = why

    def done(self):
        """The Rewrite: its nodes are ordered inputs first, without those that no output needs."""
        return Rewrite(tuple(self._sorted()), tuple(self._changed), dict(self._kept))

    def _sorted(self):
        needed, waiting = set(), [name for name, node in self._nodes.items() if node.kind in ("Input", "Output")]
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting.extend(self._nodes[name].inputs)
        ready, placed = [name for name in self._nodes if name in needed], set()
        stack = ready[::-1]
        while stack:
            name = stack[-1]
            missing = [source for source in self._nodes[name].inputs if source not in placed]
            if missing:
                stack.extend(missing[::-1])
                continue
            stack.pop()
            if name not in placed:
                placed.add(name)
                yield self._nodes[name]


def is_relu(node):
    """Whether a node is a plain ReLU."""
    return node.kind == "Activation" and node.attributes["activation"] == "relu"

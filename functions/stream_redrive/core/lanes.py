"""The lanes of a shard: what shares one and what doesn't, as far as it is known."""

from collections import defaultdict

Node = tuple[str, str]  # whatever is in one lane, by kind and name: a batch, a partition key


class Contradiction(Exception):
    """What was found can't be true of a shard with so many lanes."""


class Lanes:
    """Sorts nodes into a number of lanes that have no names: only same and different are known.

    With one lane everything is together; with two, what is in neither the one nor undecided is in the other.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._parent: dict[Node, Node] = {}
        self._apart: defaultdict[Node, set[Node]] = defaultdict(set)

    def together(self, one: Node, other: Node) -> bool | None:
        """Whether two nodes share a lane; None: not known."""
        first, second = self._root(one), self._root(other)
        if first == second:
            return True
        return False if second in self._apart[first] else None

    def join(self, one: Node, other: Node) -> None:
        """Two nodes share a lane.

        Raises:
            Contradiction: they don't.
        """
        kept, gone = self._root(one), self._root(other)
        if kept == gone:
            return
        if gone in self._apart[kept]:
            raise Contradiction
        if len(self._apart[kept]) < len(self._apart[gone]):
            kept, gone = gone, kept
        self._parent[gone] = kept
        for node in self._apart.pop(gone, set()):
            self._apart[node].discard(gone)
            self._set_apart(node, kept)
        self._join_what_is_left(kept)

    def part(self, one: Node, other: Node) -> None:
        """Two nodes are in different lanes.

        Raises:
            Contradiction: they share one.
        """
        first, second = self._root(one), self._root(other)
        if first == second:
            raise Contradiction
        self._set_apart(first, second)
        self._join_what_is_left(first)
        self._join_what_is_left(second)

    def _set_apart(self, first: Node, second: Node) -> None:
        self._apart[first].add(second)
        self._apart[second].add(first)

    def _join_what_is_left(self, node: Node) -> None:
        if self.count == 2:
            first, *others = self._apart[self._root(node)] or {node}
            for other in others:
                self.join(first, other)

    def _root(self, node: Node) -> Node:
        if self.count == 1:
            return "lane", ""
        while (parent := self._parent.setdefault(node, node)) != node:
            self._parent[node] = node = self._parent.setdefault(parent, parent)
        return node

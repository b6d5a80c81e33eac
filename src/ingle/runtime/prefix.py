"""Owns which prefixes have keys and values at hand: a radix tree of pages of 64 tokens.

A leaf may be shorter. A node always holds its pages of layers with full attention; those of layers
with a sliding window it holds where a prefix may be resumed (the ends of prompts, turns and
answers), since a window forgets the rest. What was used longest ago goes first. It does not know
requests, or who else holds a page.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ingle.ops import PAGE_TOKENS
from ingle.runtime.pages import PagePool, PageTable, visible_pages

Tokens = tuple[int, ...]
NO_PAGE = -1


@dataclass(eq=False, slots=True)
class Node:
    """Tokens after those of `parent`; pages: one per group, NO_PAGE where none is held."""

    tokens: Tokens
    parent: Node | None
    pages: list[int]
    depth: int
    used: int = 0
    saved: int = 0  # pages of it that were saved elsewhere
    children: dict[Tokens, Node] = field(default_factory=dict)


class PrefixIndex:
    """Prefixes by kind: keys and values of one kind are no use to another."""

    def __init__(self, pool: PagePool) -> None:
        self._pool = pool
        self._windows = [group.window for group in pool.store.layout.groups]
        self._roots: dict[Hashable, Node] = {}
        self._nodes: set[Node] = set()
        self._clock = 0
        pool.keeper = self

    def __len__(self) -> int:
        return len(self._nodes)

    def nodes(self) -> Iterator[Node]:
        """Every node, in no order."""
        return iter(self._nodes)

    def match(self, kind: Hashable, ids: Sequence[int]) -> tuple[int, list[list[int]]]:
        """How many of `ids` can be resumed behind, and the pages that hold them (per index)."""
        path, length = self._walk(kind, ids)
        position = self._resumable(path, length)
        self._clock += 1
        for node in path[: -(-position // PAGE_TOKENS)]:
            node.used = self._clock
        return position, [node.pages for node in path]

    def reach(self, kind: Hashable, ids: Sequence[int]) -> int:
        """How many of `ids` can be resumed behind; nothing counts as used."""
        return self._resumable(*self._walk(kind, ids))

    def unsaved(self) -> tuple[Node, Hashable] | None:
        """A node with more pages than were saved of it, none before it; None if there is none."""
        for kind, root in self._roots.items():
            waiting = list(root.children.values())
            while waiting:
                node = waiting.pop()
                if node.saved < _num_pages(node):
                    return node, kind
                waiting += node.children.values()
        return None

    def grow(
        self,
        kind: Hashable,
        path: Sequence[Tokens],
        wanted: set[tuple[int, int]],
        load: Callable[[int, int], int | None],
    ) -> None:
        """Takes in pages from elsewhere along a path, as far as `load` has them.

        load: is told index and group, and gives a page that the caller holds for the index.
        wanted: (group, index) of windows.
        """
        self._clock += 1
        node = self._roots.setdefault(kind, Node((), None, [], 0))
        for index, tokens in enumerate(path):
            child = node.children.get(tokens)
            if child is None:
                child = Node(tokens, node, [NO_PAGE] * len(self._windows), index)
                node.children[tokens] = child
                self._nodes.add(child)
            child.used = self._clock
            for g, window in enumerate(self._windows):
                if child.pages[g] != NO_PAGE or (window and (g, index) not in wanted):
                    continue
                page = load(index, g)
                if page is None:
                    if not window or _num_pages(child) == 0:
                        self._remove(child)
                    return
                child.pages[g] = page
            child.saved = max(child.saved, _num_pages(child))
            node = child

    def insert(
        self,
        kind: Hashable,
        ids: Sequence[int],
        count: int,
        table: PageTable,
        resumable: Iterable[int],
    ) -> None:
        """Hold the pages of the first `count` of `ids`, and the windows before `resumable` places.

        The table comes to hold pages that were here before instead of its own like them.
        """
        self._clock += 1
        wanted = self._windows_wanted(resumable, count)
        root = self._roots.setdefault(kind, Node((), None, [], 0))
        node = root
        for index in range(-(-count // PAGE_TOKENS)):
            tokens = tuple(ids[index * PAGE_TOKENS : min((index + 1) * PAGE_TOKENS, count)])
            node = self._step(node, tokens, index, table, wanted)
            node.used = self._clock

    def evict(self, group: int) -> bool:
        """Let go of the page of `group` that was used longest ago and that nobody else holds."""
        idle = [
            node
            for node in self._nodes
            if node.pages[group] != NO_PAGE and self._pool.holders(group, node.pages[group]) == 1
        ]
        if not idle:
            return False
        self._let_go(min(idle, key=lambda node: (node.used, -node.depth)), group)
        return True

    def surrender(self, group: int, page: int) -> None:
        """Let go of this page."""
        for node in [node for node in self._nodes if node.pages[group] == page]:
            self._let_go(node, group)

    def clear(self) -> None:
        """Let go of everything."""
        for root in self._roots.values():
            for node in list(root.children.values()):
                self._remove(node)
        self._roots.clear()

    def _walk(self, kind: Hashable, ids: Sequence[int]) -> tuple[list[Node], int]:
        """Nodes along `ids`, and how many of them agree; of the last node perhaps only a part."""
        path: list[Node] = []
        node = self._roots.get(kind)
        while node is not None:
            start = len(path) * PAGE_TOKENS
            tokens = tuple(ids[start : start + PAGE_TOKENS])
            child = node.children.get(tokens)
            if child is None or len(tokens) < PAGE_TOKENS:
                near, common = _nearest(node.children.values(), tokens)
                return (path, start) if near is None else ([*path, near], start + common)
            path.append(child)
            node = child
        return path, 0

    def _resumable(self, path: Sequence[Node], length: int) -> int:
        """The farthest place up to `length` whose windows are all held."""
        position = length
        while position:
            missing = [
                index
                for g, window in enumerate(self._windows)
                if window
                for index in range(*visible_pages(window, position))
                if path[index].pages[g] == NO_PAGE
            ]
            if not missing:
                break
            position = max(missing) * PAGE_TOKENS
        return position

    def _windows_wanted(self, resumable: Iterable[int], count: int) -> set[tuple[int, int]]:
        """(group, index) of the windows' pages to hold."""
        return {
            (g, index)
            for position in resumable
            if position <= count
            for g, window in enumerate(self._windows)
            if window
            for index in range(*visible_pages(window, position))
        }

    def _step(
        self,
        parent: Node,
        tokens: Tokens,
        index: int,
        table: PageTable,
        wanted: set[tuple[int, int]],
    ) -> Node:
        """The child of `tokens`, made or completed with pages of the table."""
        node = parent.children.get(tokens) or self._longer(parent, tokens, index, wanted)
        if node is None:
            node = Node(tokens, parent, [NO_PAGE] * len(self._windows), index)
            parent.children[tokens] = node
            self._nodes.add(node)
        for g, window in enumerate(self._windows):
            page, own = node.pages[g], table.page(g, index)
            if page == NO_PAGE and own >= 0 and (not window or (g, index) in wanted):
                self._pool.hold(g, own)
                node.pages[g] = own
            elif page not in (NO_PAGE, own) and own >= 0 and len(tokens) == PAGE_TOKENS:
                table.replace(g, index, page)
        self._drop_shorter(parent, node)
        return node

    def _longer(
        self, parent: Node, tokens: Tokens, index: int, wanted: set[tuple[int, int]]
    ) -> Node | None:
        """A child that says all of the short `tokens` and holds what a leaf of them would."""
        if len(tokens) == PAGE_TOKENS:
            return None
        needed = [g for g, w in enumerate(self._windows) if not w or (g, index) in wanted]
        for child in parent.children.values():
            says = child.tokens[: len(tokens)] == tokens
            if says and all(child.pages[g] != NO_PAGE for g in needed):
                return child
        return None

    def _drop_shorter(self, parent: Node, node: Node) -> None:
        """Let go of leaves that say no more than `node`."""
        for other in list(parent.children.values()):
            shorter = len(other.tokens) < len(node.tokens)
            if (
                shorter
                and node.tokens[: len(other.tokens)] == other.tokens
                and _covers(node, other)
            ):
                self._remove(other)

    def _let_go(self, node: Node, group: int) -> None:
        if not self._windows[group]:
            self._remove(node)
            return
        self._pool.drop(group, node.pages[group])
        node.pages[group] = NO_PAGE
        if not any(page != NO_PAGE for page in node.pages):
            self._remove(node)

    def _remove(self, node: Node) -> None:
        """Without what stands behind it, to which no way would lead."""
        assert node.parent is not None
        del node.parent.children[node.tokens]
        waiting = [node]
        while waiting:
            gone = waiting.pop()
            waiting += gone.children.values()
            self._nodes.discard(gone)
            for group, page in enumerate(gone.pages):
                if page != NO_PAGE:
                    self._pool.drop(group, page)


def _num_pages(node: Node) -> int:
    return sum(page != NO_PAGE for page in node.pages)


def _covers(node: Node, other: Node) -> bool:
    return all(a != NO_PAGE or b == NO_PAGE for a, b in zip(node.pages, other.pages, strict=True))


def _nearest(children: Iterable[Node], tokens: Tokens) -> tuple[Node | None, int]:
    """The child that begins with most of `tokens`; the one with most pages among equals."""
    best: tuple[int, int] = (0, 0)
    near: Node | None = None
    for child in children:
        common = common_prefix(child.tokens, tokens)
        rank = (common, _num_pages(child))
        if common and rank > best:
            best, near = rank, child
    return near, best[0]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with.

    >>> common_prefix([1, 2, 3], [1, 2, 4])
    2
    """
    limit = min(len(a), len(b))
    return next((i for i in range(limit) if a[i] != b[i]), limit)

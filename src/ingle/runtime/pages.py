"""Owns who holds which page of keys and values: reference counts, and each sequence's page tables.

A page that more than one holds is copied before it is written. It does not know tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingle.ops import PAGE_TOKENS
from ingle.runtime.kv import KvPool


class PageKeeper(Protocol):
    """Who holds pages that nobody is running on, and gives them back when they are needed."""

    def evict(self, group: int) -> bool:
        """Let go of a page of `group` that nobody else holds; False if there is none."""

    def surrender(self, group: int, page: int) -> None:
        """Let go of this page."""


class PagePool:
    """The pages of a `KvPool` and how many hold each."""

    def __init__(self, store: KvPool) -> None:
        self.store = store
        self.keeper: PageKeeper | None = None
        # Popped from the end: low pages first, so that few are ever touched.
        self._free = [list(range(count - 1, -1, -1)) for count in store.pages]
        self._holders = [[0] * count for count in store.pages]

    def num_pages(self, group: int) -> int:
        """Pages of a group, held or free."""
        return self.store.pages[group]

    def num_free(self, group: int) -> int:
        """Pages that nobody holds."""
        return len(self._free[group])

    def holders(self, group: int, page: int) -> int:
        """How many hold a page."""
        return self._holders[group][page]

    def take(self, group: int) -> int | None:
        """A page with one holder, the caller; None if every page is held by a running sequence."""
        free = self._free[group]
        while not free:
            if self.keeper is None or not self.keeper.evict(group):
                return None
        page = free.pop()
        self._holders[group][page] = 1
        return page

    def hold(self, group: int, page: int) -> None:
        """One more holds a page that is held."""
        assert self._holders[group][page] > 0, "a free page cannot be held"
        self._holders[group][page] += 1

    def drop(self, group: int, page: int) -> None:
        """One holder less; the last one frees the page."""
        assert self._holders[group][page] > 0, "a free page cannot be dropped"
        self._holders[group][page] -= 1
        if not self._holders[group][page]:
            self._free[group].append(page)

    def own(self, group: int, page: int) -> int:
        """A page with the same numbers that the caller, a holder of `page`, may write."""
        if self._holders[group][page] == 1:
            return page
        copy = self.take(group)
        if copy is None and self.keeper is not None:
            self.keeper.surrender(group, page)
            if self._holders[group][page] == 1:
                return page
            copy = self.take(group)
        assert copy is not None, "sequences hold more pages than were reserved"
        self.store.keys[group][:, copy] = self.store.keys[group][:, page]
        self.store.values[group][:, copy] = self.store.values[group][:, page]
        self.drop(group, page)
        return copy


class PageTable:
    """The pages of one sequence (a `KvView`): of each group those of [first, end) are held."""

    def __init__(self, pool: PagePool) -> None:
        self._pool = pool
        width = -(-pool.store.context_tokens // PAGE_TOKENS)
        self._groups = pool.store.layout.groups
        self._tables = [np.zeros(width, np.int32) for _ in self._groups]
        self._first = [0] * len(self._groups)
        self._end = [0] * len(self._groups)

    def page_table(self, group: int) -> NDArray[np.int32]:
        """Page of positions [64 p, 64 p + 64) at index p."""
        return self._tables[group]

    def page(self, group: int, index: int) -> int:
        """The page held at an index of a group's table; -1 if none is."""
        held = self._first[group] <= index < self._end[group]
        return int(self._tables[group][index]) if held else -1

    def num_held(self, group: int) -> int:
        """Pages of a group that this sequence holds."""
        return self._end[group] - self._first[group]

    def num_held_after(self, group: int, start: int, count: int) -> int:
        """The same, once positions [start, start + count) are writable; count 0: as it is now."""
        if not count:
            return self.num_held(group)
        first = max(self._first[group], visible_pages(self._groups[group].window, start)[0])
        return max(self._end[group], (start + count - 1) // PAGE_TOKENS + 1) - first

    def adopt(self, pages: Sequence[Sequence[int]], position: int) -> None:
        """Start, empty so far, at `position` behind `pages` of others: per index, one per group."""
        for g, group in enumerate(self._groups):
            first, end = visible_pages(group.window, position)
            for index in range(first, end):
                self._pool.hold(g, pages[index][g])
                self._tables[g][index] = pages[index][g]
            self._first[g], self._end[g] = first, end

    def replace(self, group: int, index: int, page: int) -> None:
        """Hold `page`, which has the same numbers, in place of the one at `index`."""
        self._pool.hold(group, page)
        self._pool.drop(group, int(self._tables[group][index]))
        self._tables[group][index] = page

    def prepare(self, start: int, stop: int) -> None:
        """Make positions [start, stop) writable, and let go of what none of them sees."""
        for g, group in enumerate(self._groups):
            first, _ = visible_pages(group.window, start)
            self._release(g, first)
            table, begin = self._tables[g], start // PAGE_TOKENS
            if begin < self._end[g]:
                table[begin] = self._pool.own(g, int(table[begin]))
            for index in range(self._end[g], (stop - 1) // PAGE_TOKENS + 1):
                page = self._pool.take(g)
                assert page is not None, "sequences hold more pages than were reserved"
                table[index] = page
                self._end[g] = index + 1

    def clear(self) -> None:
        """Let go of every page."""
        for group in range(len(self._groups)):
            self._release(group, self._end[group])

    def _release(self, group: int, first: int) -> None:
        for index in range(self._first[group], min(first, self._end[group])):
            self._pool.drop(group, int(self._tables[group][index]))
        if first > self._first[group]:
            self._first[group] = first
            self._end[group] = max(first, self._end[group])


def visible_pages(window: int, position: int) -> tuple[int, int]:
    """First index and end of the pages that a token at `position` sees of what came before it."""
    first = max(0, position - window + 1) // PAGE_TOKENS if window else 0
    return min(first, -(-position // PAGE_TOKENS)), -(-position // PAGE_TOKENS)

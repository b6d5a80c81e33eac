"""The radix index finds the longest prefix there is, and gives pages back when they are needed."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ingle.ops import AttentionShape, KvLayout
from ingle.runtime import Engine, Progress, Request, SamplingParams, common_prefix
from ingle.runtime.kv import KvPool
from ingle.runtime.pages import PagePool, PageTable, visible_pages
from ingle.runtime.prefix import PrefixIndex

sys.path.insert(0, str(Path(__file__).parent))
from paper_model import PaperBackend, answer, paper_model

# Prompts of few pieces, so that many begin alike: within a page, at its end and behind it.
pieces = st.sampled_from([[1] * 30, [2] * 34, [3] * 64, [4], [5] * 100])
prompts = st.lists(pieces, min_size=1, max_size=4).map(lambda parts: [t for p in parts for t in p])


@settings(max_examples=60)
@given(st.lists(st.tuples(prompts, st.integers(1, 70)), min_size=1, max_size=6))
def test_the_longest_prefix_is_found(asked: list[tuple[list[int], int]]) -> None:
    engine = Engine(paper_model((0,), 1024), PaperBackend(), 1024, 8)  # type: ignore[arg-type]
    known: list[list[int]] = []
    for prompt, count in asked:
        progress = Progress(len(prompt))
        request = Request(prompt, SamplingParams(temperature=0), max_tokens=count)
        said = list(engine.generate(request, progress))
        assert said == answer((0,), prompt, count)
        best = max((common_prefix(prompt[:-1], one) for one in known), default=0)
        assert progress.cached_tokens == best
        known.append([*prompt, *said[:-1]])


@given(st.integers(2, 300), st.integers(0, 5000))
def test_visible_pages_are_those_a_window_sees(window: int, position: int) -> None:
    seen = {p // 64 for p in range(max(0, position - window + 1), position)}
    first, end = visible_pages(window, position)
    assert seen == set(range(first, end))


def test_what_was_used_longest_ago_goes_first_and_an_end_before_its_beginning() -> None:
    store = KvPool(KvLayout([AttentionShape(0, 1, 1, 1)]), 256, 64)
    pool = PagePool(store)
    index = PrefixIndex(pool)
    for start in (0, 1000):
        table = PageTable(pool)
        table.prepare(0, 128)
        index.insert(None, range(start, start + 128), 128, table, [])
        table.clear()
    index.match(None, range(128))  # the first is now the younger one
    assert pool.num_free(0) == 0
    for left in ((128, 64), (128, 0), (64, 0), (0, 0)):
        assert index.evict(0)
        assert (index.reach(None, range(128)), index.reach(None, range(1000, 1128))) == left
    assert not index.evict(0)


def test_a_page_that_is_shared_is_copied_before_it_is_written() -> None:
    store = KvPool(KvLayout([AttentionShape(0, 1, 1, 1)]), 256, 64)
    pool = PagePool(store)
    first, second = PageTable(pool), PageTable(pool)
    first.prepare(0, 10)
    page = first.page(0, 0)
    store.keys[0][:, page] = 7
    second.adopt([[page]], 10)
    second.prepare(10, 11)
    assert second.page(0, 0) != page
    assert (store.keys[0][:, second.page(0, 0)] == 7).all()
    assert pool.holders(0, page) == 1
    first.clear()
    second.clear()
    assert pool.num_free(0) == pool.num_pages(0)

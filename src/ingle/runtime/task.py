"""Owns what the scheduler runs: a generation, a scoring of given tokens, a warming of a prefix.

A task says which rows of logits it wants and takes them; it does not know batches or pages of
others. Its tokens are computed up to `computed`; the rest is pending.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ingle.runtime.logprobs import TokenLogprobs, token_logprobs
from ingle.runtime.pages import PageTable
from ingle.runtime.request import FinishReason, Request
from ingle.runtime.sampling import Sampler
from ingle.runtime.terms import Terms

_SCORED_BYTES = 64 << 20  # of logits in one step, of a prompt whose tokens are scored
SNAPSHOT_TOKENS = 512  # a long prompt can be resumed at every such place
_BOUNDARIES = 8  # of a prompt: the first, and the last ones


@dataclass
class Progress:
    """What a running generation has done so far; times in seconds."""

    prompt_tokens: int
    cached_tokens: int = 0
    computed_tokens: int = 0  # of the prompt, those at hand included
    completion_tokens: int = 0
    prompt_s: float = 0.0
    decode_s: float = 0.0
    finish_reason: FinishReason = FinishReason.CANCELLED
    logprobs: list[TokenLogprobs] = field(default_factory=list)  # of the tokens handed out
    prompt_logprobs: list[TokenLogprobs] = field(default_factory=list)  # from the second token on
    stop_logprobs: TokenLogprobs | None = None  # of the stop id that ended it


class Task:
    """Tokens to compute, some of them perhaps not known yet."""

    reuses = True  # may begin behind a prefix that is at hand
    idle = False  # runs only when nobody waits
    most_rows: int | None = None  # tokens of a step at most, where logits of each are wanted

    def __init__(self, ids: Sequence[int], num_experts_per_tok: int | None, terms: Terms) -> None:
        self.ids = list(ids)
        self.num_experts_per_tok = num_experts_per_tok
        self.terms = terms
        self.table: PageTable | None = None  # while it runs
        self.computed = 0
        self.done = False
        self.error: BaseException | None = None
        self.began = 0.0  # when it came in, by the scheduler's clock
        self.last_run = 0  # step of the scheduler
        self.place = 0  # among all that came in, by the first time that it did
        self.boundaries = _worth_keeping(terms.boundaries, len(self.ids))

    @property
    def pending(self) -> int:
        """Tokens that are known and not computed."""
        return len(self.ids) - self.computed

    @property
    def most_tokens(self) -> int:
        """Positions that it can come to use."""
        return len(self.ids)

    @property
    def wants(self) -> bool:
        """Whether it would run now."""
        return not self.done

    def rows(self, count: int) -> range:
        """Of the next `count` tokens, those whose logits are wanted."""
        return range(0)

    def started(self, cached_tokens: int) -> None:
        """It begins, or goes on after a pause, behind so many tokens that were at hand."""

    def accept(self, logits: NDArray[np.float32], count: int) -> None:
        """`count` tokens were computed; logits of the wanted rows."""
        self.computed += count

    def spent(self, seconds: float) -> None:
        """The step that the last `accept` belongs to took so long."""

    def end(self, error: BaseException | None = None) -> None:
        """It runs no more."""
        self.done, self.error = True, error


class Warming(Task):
    """Computes a prefix that is likely to be asked for."""

    idle = True

    def accept(self, logits: NDArray[np.float32], count: int) -> None:
        """Done when all is computed."""
        super().accept(logits, count)
        self.done = not self.pending


class Scoring(Task):
    """All logits of given tokens, from an empty context, into `out` (tokens, vocab_size)."""

    reuses = False

    def __init__(self, ids: Sequence[int], out: NDArray[np.float32]) -> None:
        super().__init__(ids, None, Terms())
        self._out = out

    def rows(self, count: int) -> range:
        """Every one."""
        return range(count)

    def accept(self, logits: NDArray[np.float32], count: int) -> None:
        """Keeps the logits."""
        self._out[self.computed : self.computed + count] = logits
        super().accept(logits, count)
        self.done = not self.pending


class Generation(Task):
    """A prompt continued token by token; those drawn wait in `unread` for their reader."""

    def __init__(
        self, request: Request, progress: Progress, limit: int, vocab_size: int, terms: Terms
    ) -> None:
        super().__init__(request.prompt_ids, request.num_experts_per_tok, terms)
        self.request = request
        self.progress = progress
        self.unread: deque[int] = deque()
        self.num_read = 0  # tokens that their reader is done with
        self._limit = limit
        self._vocab_size = vocab_size
        self._sampler: Sampler | None = None  # made when it begins: it takes 8 bytes per word
        self._in_prompt = True
        self.reuses = terms.reuse
        if request.prompt_logprobs is not None:
            self.reuses = False  # what is at hand has no logits
            self.most_rows = max(1, _SCORED_BYTES // (4 * vocab_size))

    @property
    def most_tokens(self) -> int:
        """Prompt and answer; the last token drawn is never computed."""
        return len(self.request.prompt_ids) + self._limit

    @property
    def wants(self) -> bool:
        """Unless its reader is behind."""
        return not self.done and self._num_said - self.num_read < self.terms.buffer

    @property
    def _num_said(self) -> int:
        return self.progress.completion_tokens

    def rows(self, count: int) -> range:
        """The last, once everything known is computed; of a prompt to be scored, each."""
        draws = count == self.pending and self._limit > 0
        if not self._num_unscored:
            return range(count - 1, count) if draws else range(0)
        first = max(len(self.progress.prompt_logprobs) - self.computed, 0)
        end = count if draws else min(count, len(self.request.prompt_ids) - 1 - self.computed)
        return range(first, max(first, end))

    def started(self, cached_tokens: int) -> None:
        """Counts what was at hand of the prompt."""
        if self._sampler is None:
            self.progress.cached_tokens = self.progress.computed_tokens = cached_tokens
            wish, ids = self.request, self.request.prompt_ids
            self._sampler = Sampler(wish.sampling, self._vocab_size, ids, wish.constraint)

    def accept(self, logits: NDArray[np.float32], count: int) -> None:
        """Scores what is to be; draws the next token where the last one's logits are there."""
        first = self.computed + self.rows(count).start
        super().accept(logits, count)
        self._in_prompt = not self._num_said
        self.progress.computed_tokens = min(self.computed, self.progress.prompt_tokens)
        if self._num_unscored:
            self._score(logits, first)
        if self._limit == 0 and not self.pending:
            self.progress.finish_reason, self.done = FinishReason.LENGTH, True
        elif len(logits) and not self.pending:
            self._say(logits[-1])

    def spent(self, seconds: float) -> None:
        """The step in which the first token was drawn belongs to the prompt."""
        if self._in_prompt:
            self.progress.prompt_s += seconds
        else:
            self.progress.decode_s += seconds

    @property
    def _num_unscored(self) -> int:
        """Tokens of the prompt whose probabilities are still to be told."""
        if self.request.prompt_logprobs is None:
            return 0
        return len(self.request.prompt_ids) - 1 - len(self.progress.prompt_logprobs)

    def _score(self, logits: NDArray[np.float32], first: int) -> None:
        """The prompt's tokens after the positions `first` ... that the rows are of."""
        count = self.request.prompt_logprobs
        assert count is not None
        for place, row in enumerate(logits[: self._num_unscored], first + 1):
            found = token_logprobs(row, self.ids[place], count)
            self.progress.prompt_logprobs.append(found)

    def _say(self, logits: NDArray[np.float32]) -> None:
        """The next token, and those that a constraint makes follow it: they run as one chunk."""
        request, progress, sampler = self.request, self.progress, self._sampler
        assert sampler is not None
        token = sampler.draw(logits)
        alone = token in request.stop_ids or request.logprobs is not None
        for said in [token] if alone else [token, *sampler.forced()]:
            progress.completion_tokens += 1
            found = None
            if request.logprobs is not None:
                found = token_logprobs(logits, said, request.logprobs)
            if said in request.stop_ids:
                progress.finish_reason, self.done = FinishReason.STOP, True
                progress.stop_logprobs = found
                return
            if found is not None:
                progress.logprobs.append(found)
            self.ids.append(said)
            self.unread.append(said)
            if progress.completion_tokens == self._limit:
                progress.finish_reason, self.done = FinishReason.LENGTH, True
                return


def _worth_keeping(boundaries: Sequence[int], length: int) -> list[int]:
    """Places of a prompt where its state is worth keeping, ascending; its end is one."""
    inside = sorted({place for place in boundaries if 0 < place < length})
    chosen = {*inside[:1], *inside[-_BOUNDARIES:], length}
    return sorted(chosen | set(range(SNAPSHOT_TOKENS, length, SNAPSHOT_TOKENS)))

"""Owns the numbers that a server tells Prometheus: requests, tokens, times, batches, memory.

Each server counts for itself. It does not know how answers are made.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingle.runtime import DeadlineError, Progress
from ingle.serve.journal import Record
from ingle.serve.rack import Rack

disable_created_metrics()  # type: ignore[no-untyped-call]

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_WAITS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_GAPS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts; `text` tells them, and what the rack's models are doing at that moment."""

    def __init__(self, rack: Rack) -> None:
        own = self._registry = CollectorRegistry()
        ProcessCollector(registry=own)
        PlatformCollector(registry=own)
        own.register(_Now(rack))
        model = ["model"]
        self._requests = Counter(
            "ingle_requests", "HTTP requests answered", ["route", "status"], registry=own
        )
        self._request_s = Histogram(
            "ingle_request_seconds",
            "HTTP requests, to their last byte",
            ["route"],
            buckets=_WAITS_S,
            registry=own,
        )
        self.first_s = Histogram(
            "ingle_first_token_seconds",
            "Waiting and computing until an answer's first token",
            model,
            buckets=_WAITS_S,
            registry=own,
        )
        self.gap_s = Histogram(
            "ingle_token_gap_seconds",
            "Between two tokens of an answer",
            model,
            buckets=_GAPS_S,
            registry=own,
        )
        self.batch = Histogram(
            "ingle_batch_sequences",
            "Sequences that share a step",
            model,
            buckets=_BATCHES,
            registry=own,
        )
        self.step_s = Counter("ingle_step_seconds", "Computing steps", model, registry=own)
        self.step_tokens = Counter(
            "ingle_computed_tokens", "Tokens of prompts and answers computed", model, registry=own
        )
        self.prompt_tokens = Counter(
            "ingle_prompt_tokens", "Tokens of prompts, those at hand too", model, registry=own
        )
        self.cached_tokens = Counter(
            "ingle_cached_tokens", "Tokens of prompts that were at hand", model, registry=own
        )
        self.answer_tokens = Counter(
            "ingle_answer_tokens", "Tokens of answers", model, registry=own
        )
        self.answers = Counter(
            "ingle_answers", "Answers, by how they ended", ["model", "end"], registry=own
        )
        self._repairs = Counter(
            "ingle_harmony_repairs",
            "Times that a rule put a model's format right",
            ["model", "rule"],
            registry=own,
        )

    def text(self) -> bytes:
        """In Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry)

    def meter(self, model: str) -> ModelMeter:
        """What counts for one model."""
        return ModelMeter(self, model)

    def note(self, record: Record) -> None:
        """One request is over."""
        self._requests.labels(record.route, str(record.status or 499)).inc()
        self._request_s.labels(record.route).observe(record.seconds)
        for stream in record.streams:
            repairs = stream.completion.repairs if stream.finished else {}
            for rule, count in repairs.items():
                self._repairs.labels(record.exchange.model, rule).inc(count)


class ModelMeter:
    """An `ingle.runtime.Meter` of one model."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._batch = metrics.batch.labels(model)
        self._step_s = metrics.step_s.labels(model)
        self._step_tokens = metrics.step_tokens.labels(model)
        self._first_s = metrics.first_s.labels(model)
        self._gap_s = metrics.gap_s.labels(model)
        self._prompt = metrics.prompt_tokens.labels(model)
        self._cached = metrics.cached_tokens.labels(model)
        self._answer = metrics.answer_tokens.labels(model)
        self._answers = metrics.answers
        self._model = model

    def stepped(self, sequences: int, tokens: int, seconds: float) -> None:
        """A batch was computed."""
        self._batch.observe(sequences)
        self._step_s.inc(seconds)
        self._step_tokens.inc(tokens)

    def first_token(self, seconds: float) -> None:
        """An answer began."""
        self._first_s.observe(seconds)

    def more_tokens(self, count: int, seconds: float) -> None:
        """An answer went on."""
        for _ in range(count):
            self._gap_s.observe(seconds / count)

    def ended(self, progress: Progress, error: BaseException | None) -> None:
        """An answer is over."""
        self._prompt.inc(progress.prompt_tokens)
        self._cached.inc(progress.cached_tokens)
        self._answer.inc(progress.completion_tokens)
        end = str(progress.finish_reason) if error is None else "failed"
        late = isinstance(error, DeadlineError)
        self._answers.labels(self._model, "late" if late else end).inc()


class _Now(Collector):
    """What can be looked up when it is asked for."""

    def __init__(self, rack: Rack) -> None:
        self._rack = rack

    def collect(self) -> Iterator[Metric]:
        """Models and their memory."""
        numbers = {
            "running": GaugeMetricFamily("ingle_running", "Answers in work", labels=["model"]),
            "waiting": GaugeMetricFamily("ingle_waiting", "Answers in line", labels=["model"]),
            "prefix_pages": GaugeMetricFamily(
                "ingle_prefix_pages", "Pages of 64 tokens held for prompts", labels=["model"]
            ),
            "prefix_disk_bytes": GaugeMetricFamily(
                "ingle_prefix_disk_bytes", "Bytes of prefixes on disk", labels=["model"]
            ),
        }
        loaded = GaugeMetricFamily("ingle_model_loaded", "1: in memory", labels=["model"])
        memory = GaugeMetricFamily(
            "ingle_memory_bytes", "Memory granted by the plan", labels=["model", "category"]
        )
        for place in list(self._rack.places.values()):
            model, demand = place.model, place.demand
            loaded.add_metric([place.name], model is not None)
            status = {} if model is None else model.status()
            for name, family in numbers.items():
                if name in status:
                    family.add_metric([place.name], status[name])
            if demand is not None and demand.granted is not None:
                for category, nbytes in demand.granted.categories.items():
                    memory.add_metric([place.name, category], nbytes)
                memory.add_metric([place.name, "prefix_cache"], demand.cache)
        yield from (*numbers.values(), loaded, memory)

"""Figures as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from serving.telemetry.measures import BOUNDS, Key, Snapshot, Timing
from serving.telemetry.names import METRICS, Kind, Metric

Value = TypeVar("Value")

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_EDGES = (*[str(bound) for bound in BOUNDS], "+Inf")


def exposition(figures: Snapshot) -> bytes:
    """The text of every figure that there is, in the order of `METRICS`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(figures))
    return generate_latest(registry)


class _Figures(Collector):
    """Hands a snapshot to the library that writes the text."""

    def __init__(self, figures: Snapshot) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Family]:
        """One family for each metric that has a value."""
        for name, metric in METRICS.items():
            family = self._family(name, metric)
            if family.samples:
                yield family

    def _family(self, name: str, metric: Metric) -> Family:
        if metric.kind is Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(name, metric.text, labels=metric.labels)
            for labels, timing in _of(name, self._figures.times):
                histogram.add_metric(labels, _buckets(timing), timing.total)
            return histogram
        if metric.kind is Kind.COUNTER:
            counter = CounterMetricFamily(name, metric.text, labels=metric.labels)
            for labels, n in _of(name, self._figures.counts):
                counter.add_metric(labels, n)
            return counter
        gauge = GaugeMetricFamily(name, metric.text, labels=metric.labels)
        for labels, value in _of(name, self._figures.gauges):
            gauge.add_metric(labels, value)
        return gauge


def _of(name: str, values: Mapping[Key, Value]) -> list[tuple[Key, Value]]:
    found = [(key[1:], value) for key, value in values.items() if key[0] == name]
    return sorted(found, key=lambda each: each[0])


def _buckets(timing: Timing) -> list[tuple[str, float]]:
    return list(zip(_EDGES, accumulate(timing.counts), strict=True))

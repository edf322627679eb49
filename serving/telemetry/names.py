"""Every figure that the service reports: its name, its labels and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple


class Kind(StrEnum):
    """How a figure is counted, and how those of several workers become one."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    SUM = "sum"
    LARGEST = "largest"
    SMALLEST = "smallest"

    @property
    def is_gauge(self) -> bool:
        """Whether it goes up and down, and ends with its worker."""
        return self in {Kind.SUM, Kind.LARGEST, Kind.SMALLEST}


class Metric(NamedTuple):
    """A figure.

    Attributes:
        kind: How it is counted.
        text: What it means.
        labels: Names of its labels, in the order in which their values are given.
    """

    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


REQUEST_SECONDS: Final = "recsys_request_seconds"
IN_FLIGHT: Final = "recsys_requests_in_flight"
STAGE_SECONDS: Final = "recsys_stage_seconds"
FALLBACKS: Final = "recsys_fallbacks_total"
CACHE_HITS: Final = "recsys_score_cache_hits_total"
CACHE_MISSES: Final = "recsys_score_cache_misses_total"
COMMIT_QUEUE: Final = "recsys_commit_queue_length"
JOURNAL_BYTES: Final = "recsys_journal_bytes"
JOURNAL_ENTRIES: Final = "recsys_journal_entries"
OUTCOMES: Final = "recsys_outcomes_total"
OUTCOMES_LOST: Final = "recsys_outcomes_uncounted_total"
SHADOW_SCORED: Final = "recsys_shadow_scored_total"
SHADOW_DROPPED: Final = "recsys_shadow_dropped_total"
FEATURE_DRIFT: Final = "recsys_feature_drift_psi"
SCORE_DRIFT: Final = "recsys_score_drift_psi"
DRIFT_SAMPLES: Final = "recsys_drift_samples"
SOURCE_AGE: Final = "recsys_source_age_seconds"
BUNDLE_AGE: Final = "recsys_bundle_age_seconds"
BUNDLE_DATA_AGE: Final = "recsys_bundle_data_age_seconds"
IN_FORCE: Final = "recsys_in_force"
LOOK_AGE: Final = "recsys_look_age_seconds"
IS_READY: Final = "recsys_ready"
IS_DRAINING: Final = "recsys_draining"
IS_DATABASE_UP: Final = "recsys_database_up"
WORKERS: Final = "recsys_workers"
WORKERS_WANTED: Final = "recsys_workers_wanted"
WORKER_MEMORY: Final = "recsys_worker_resident_bytes"
CPU_SECONDS: Final = "recsys_cpu_seconds_total"
STARTED_AT: Final = "recsys_worker_started_timestamp_seconds"

METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        REQUEST_SECONDS: Metric(
            Kind.HISTOGRAM,
            "from the first byte of a request to the last of its answer; its count is the number of requests",
            ("method", "route", "status"),
        ),
        IN_FLIGHT: Metric(Kind.SUM, "requests that are being answered"),
        STAGE_SECONDS: Metric(
            Kind.HISTOGRAM,
            "what a recommendation waits for: read, score, decide, write (the round that it was answered in),"
            " commit (queue and transaction, until it is durable)",
            ("stage",),
        ),
        FALLBACKS: Metric(Kind.COUNTER, "answers that were given without what should decide", ("cause",)),
        CACHE_HITS: Metric(Kind.COUNTER, "clients whose scores were kept from before"),
        CACHE_MISSES: Metric(Kind.COUNTER, "clients that had to be scored"),
        COMMIT_QUEUE: Metric(Kind.SUM, "writes that wait for the database"),
        JOURNAL_BYTES: Metric(Kind.SUM, "decisions in local journals that the database has not yet, bytes"),
        JOURNAL_ENTRIES: Metric(Kind.SUM, "decisions in local journals that the database has not yet"),
        OUTCOMES: Metric(
            Kind.COUNTER,
            "new events about decisions, by the models and the place of the decision",
            ("event_type", "bundle", "placement"),
        ),
        OUTCOMES_LOST: Metric(Kind.COUNTER, "new events that were stored but not counted by model"),
        SHADOW_SCORED: Metric(Kind.COUNTER, "decisions that models in shadow were tried on"),
        SHADOW_DROPPED: Metric(
            Kind.COUNTER,
            "decisions that were sampled for models in shadow and lost: busy (too many waited), failed",
            ("cause",),
        ),
        FEATURE_DRIFT: Metric(
            Kind.LARGEST,
            "population stability index of a feature against the training window",
            ("bundle", "feature"),
        ),
        SCORE_DRIFT: Metric(
            Kind.LARGEST,
            "population stability index of the scores against the training window",
            ("bundle", "score"),
        ),
        DRIFT_SAMPLES: Metric(Kind.LARGEST, "decisions that the drift is computed from", ("bundle",)),
        SOURCE_AGE: Metric(Kind.SMALLEST, "since a table was loaded", ("source",)),
        BUNDLE_AGE: Metric(Kind.SMALLEST, "since the models in use were fitted"),
        BUNDLE_DATA_AGE: Metric(Kind.SMALLEST, "since the as_of of the models in use"),
        IN_FORCE: Metric(
            Kind.SUM, "workers that decide with this policy and these models", ("policy", "bundle")
        ),
        LOOK_AGE: Metric(Kind.LARGEST, "since a worker last saw what is in force"),
        IS_READY: Metric(Kind.SMALLEST, "1 = every worker could answer, 0 = one could not"),
        IS_DRAINING: Metric(Kind.LARGEST, "1 = the server is ending"),
        IS_DATABASE_UP: Metric(Kind.SMALLEST, "1 = the database answers and takes writes"),
        WORKERS: Metric(Kind.SUM, "workers that are alive"),
        WORKERS_WANTED: Metric(Kind.LARGEST, "workers that there should be (RECSYS_WORKERS)"),
        WORKER_MEMORY: Metric(Kind.LARGEST, "resident memory of the largest worker"),
        CPU_SECONDS: Metric(Kind.COUNTER, "processor time of all workers, user and system"),
        STARTED_AT: Metric(Kind.LARGEST, "when the youngest worker began, seconds since 1970"),
    }
)

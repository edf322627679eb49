"""The result of an evaluation as plain data: estimates, tests, rows by client, tables behind every plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

import orjson
import polars as pl
from pydantic import Field

from recsys.config import RunConfig
from recsys.domain import Target
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.ranking import RANKING_METRICS

SIMPLE_MODELS = ("popularity", "trend", "ease")
"""What a recipe has to beat: where one of these is as good, it ships."""

LONGEST_DAYS = 36_525
"""A century: longer horizons and embargoes are slips of the keyboard that no calendar holds."""


class EvaluationConfig(RunConfig):
    """What was asked.

    Attributes:
        models: Model names or recipe files.
        cuts: Instants at which clients are judged; results are pooled over them.
        horizon_days: Days after a cut that count as truth.
        embargo_days: Days before a cut of which models know nothing.
        k: Length of the list.
        seed: Root seed of every random draw.
        n_resamples: Number of bootstrap resamples.
    """

    models: tuple[str, ...] = Field(min_length=1)
    cuts: tuple[datetime, ...] = Field(min_length=1)
    horizon_days: int = Field(ge=1, le=LONGEST_DAYS)
    embargo_days: int = Field(default=0, ge=0, le=LONGEST_DAYS)
    k: int = Field(ge=1)
    seed: int = Field(ge=0)
    n_resamples: int = Field(ge=1)


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated.

    Attributes:
        title: The dataset, for people.
        time_zone: Days of the dataset are days of this zone.
        data_digest: Digest of the data.
        config_digest: Digest of the configuration and of the recipes it names.
        currency: ISO code of amounts; XXX = there are none.
    """

    title: str
    time_zone: str
    data_digest: str
    config_digest: str
    currency: str = "XXX"


@dataclass(frozen=True, slots=True)
class Contrast:
    """One model against another on the same clients.

    Attributes:
        model: The one in question.
        baseline: What it is held against.
        metric: What was measured.
        value: What the model reached.
        baseline_value: What the baseline reached.
        difference: The model minus the baseline, with the interval of the paired permutation test.
        bootstrap: The same with the interval of the paired bootstrap.
        p: Of the two-sided permutation test that they do not differ.
        adjusted_p: The same after Holm, for all contrasts of one table.
        detectable: Smallest true difference that a test like this shows with 80 % probability.
        n_clients: Number of (client, cut) pairs behind it.
        dimension: What clients are told apart by; empty = everybody.
        segment: Which of them.
    """

    model: str
    baseline: str
    metric: str
    value: float
    baseline_value: float
    difference: Estimate
    bootstrap: Estimate
    p: float
    adjusted_p: float
    detectable: float
    n_clients: int
    dimension: str = ""
    segment: str = ""


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What came out.

    Attributes:
        config: What was asked.
        subject: What was evaluated.
        estimates: Estimate by model and metric, pooled over the cuts; every (client, cut) counts once.
        n_clients: Number of distinct clients judged by ranking metrics: those that connected something.
        n_rows: Number of their (client, cut) pairs.
        n_observed: Number of (client, cut) pairs of everybody observed.
        per_client: One row per model, cut and client judged: cut, client_id, model, unit, n_relevant,
            metrics, and the segments.
        contrasts: Every model against the best simple one, by NDCG.
        verdict: One sentence on that.
        missing: Why a figure is absent, by figure.
        targets: What each model's probabilities are probabilities of, where it gives them; two where the cuts
            differ in that.
        tables: What is plotted, by name.
    """

    config: EvaluationConfig
    subject: Subject
    estimates: Mapping[str, Mapping[str, Estimate]]
    n_clients: int
    n_rows: int
    n_observed: int
    per_client: pl.DataFrame
    contrasts: tuple[Contrast, ...] = ()
    verdict: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that any model has, ranking metrics first."""
        found = dict.fromkeys(metric for metrics in self.estimates.values() for metric in metrics)
        return (*RANKING_METRICS, *(metric for metric in found if metric not in RANKING_METRICS))

    def ranking(self) -> list[str]:
        """Names of the models, best NDCG first; equal ones by name."""
        return sorted(self.estimates, key=lambda name: (-self.estimates[name]["ndcg"].value, name))

    def to_json(self) -> str:
        """The result as one JSON object, the content of ``metrics.json``."""
        return orjson.dumps(
            {
                "models": {
                    name: {metric: asdict(estimate) for metric, estimate in metrics.items()}
                    for name, metrics in self.estimates.items()
                },
                "n_clients": self.n_clients,
                "digests": {"data": self.subject.data_digest, "config": self.subject.config_digest},
                "verdict": self.verdict,
                "contrasts": [asdict(contrast) for contrast in self.contrasts],
                "missing": self.missing,
                "targets": self.targets,
                "n_client_cuts": self.n_rows,
                "n_observed_client_cuts": self.n_observed,
                "cuts": self.config.cuts,
                "time_zone": self.subject.time_zone,
                "horizon_days": self.config.horizon_days,
                "embargo_days": self.config.embargo_days,
                "k": self.config.k,
                "seed": self.config.seed,
                "n_resamples": self.config.n_resamples,
            }
        ).decode()

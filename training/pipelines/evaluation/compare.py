"""Two evaluations held against each other, client by client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import cast

import numpy as np
import orjson
import polars as pl
from orjson import JSONDecodeError
from polars.exceptions import PolarsError

from recsys.errors import ConfigError, DataError
from recsys.evaluation.comparison import compare_paired
from recsys.evaluation.intervals import unit_codes
from recsys.evaluation.ranking import RANKING_METRICS
from recsys.evaluation.report import Contrast
from recsys.experiments.multiplicity import Correction, adjust
from training.pipelines.evaluation.segments import DIMENSIONS
from training.pipelines.evaluation.tables import NO_SEGMENTS, segment_columns
from training.pipelines.evaluation.verdict import detectable_words, difference_words, is_shown
from training.pipelines.evaluation.words import local

_SAME = ("cuts", "horizon_days", "embargo_days", "k")
_KEY = ["cut", "client_id"]


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """What an evaluation left in its folder.

    Attributes:
        folder: Where.
        asked: What was asked, by name: data, cuts, horizon_days, embargo_days, k.
        time_zone: Days are days of this zone.
        seed: Its root seed.
        n_resamples: Number of its resamples.
        per_client: One row per model, cut and client.
    """

    folder: Path
    asked: dict[str, object]
    time_zone: str
    seed: int
    n_resamples: int
    per_client: pl.DataFrame

    def models(self) -> list[str]:
        """Names of the models, best NDCG first."""
        means = self.per_client.group_by("model").agg(pl.col("ndcg").mean())
        return means.sort("ndcg", "model", descending=[True, False])["model"].to_list()


@dataclass(frozen=True, slots=True)
class RunComparison:
    """By how much B differs from A.

    Attributes:
        folders: Folders of A and B.
        k: Length of the lists.
        overall: Every pair of models and metric; p adjusted over all of them.
        segments: NDCG of every pair of models by segment; p adjusted over all of them.
    """

    folders: tuple[Path, Path]
    k: int
    overall: tuple[Contrast, ...]
    segments: tuple[Contrast, ...]

    @property
    def verdict(self) -> str:
        """One sentence for each pair of models."""
        alike = {
            names
            for names in {(one.baseline, one.model) for one in self.overall}
            if all(_is_nothing(one) for one in self.overall if (one.baseline, one.model) == names)
        }
        return "\n".join(
            _alike(one) if (one.baseline, one.model) in alike else _sentence(one, self.k)
            for one in self.overall
            if one.metric == "ndcg"
        )

    @property
    def missing(self) -> dict[str, str]:
        """Why a figure is absent, by figure."""
        return {} if self.segments else {"segments": NO_SEGMENTS}

    def to_json(self) -> str:
        """The comparison as one JSON object."""
        return orjson.dumps(
            {
                "runs": [str(folder) for folder in self.folders],
                "verdict": self.verdict,
                "overall": [asdict(one) for one in self.overall],
                "segments": [asdict(one) for one in self.segments],
                "missing": self.missing,
            }
        ).decode()


def compare(
    run_a: Path, run_b: Path, *, model_a: str | None = None, model_b: str | None = None
) -> RunComparison:
    """Hold models of one evaluation against models of another, on the same clients.

    Without names every model that both runs have is compared with itself, which says what a change did; where
    they share none, the best of each. With one name, that model of A and of B.

    Args:
        run_a: Folder of an evaluation: the baseline.
        run_b: Folder of an evaluation of the same data, cuts, horizon and k; it may be the same folder.
        model_a: Model of A.
        model_b: Model of B.

    Raises:
        DataError: A folder holds no evaluation, or the two were asked different things.
        ConfigError: A run has no such model.
    """
    a, b = open_run(run_a), open_run(run_b)
    _check_same(a, b)
    frames = [_paired(a, b, *pair) for pair in _pairs(a, b, model_a, model_b)]
    overall = [_contrast(frame, names, metric, a) for names, frame in frames for metric in RANKING_METRICS]
    segments = [
        replace(_contrast(frame.filter(is_in), names, "ndcg", a), dimension=dimension, segment=segment)
        for names, frame in frames
        for dimension, segment, is_in in segment_columns(
            frame, [name for name in DIMENSIONS if name in frame.columns]
        )
    ]
    return RunComparison(
        (run_a, run_b), int(cast("int", a.asked["k"])), _adjusted(overall), _adjusted(segments)
    )


def open_run(folder: Path) -> EvaluationRun:
    """Read what an evaluation left.

    Raises:
        DataError: The folder holds none, or it is broken.
    """
    try:
        metrics = orjson.loads((folder / "metrics.json").read_bytes())
        per_client = pl.read_parquet(folder / "per_client.parquet")
        return EvaluationRun(
            folder=folder,
            asked={"data": metrics["digests"]["data"], **{name: metrics[name] for name in _SAME}},
            time_zone=metrics.get("time_zone", "UTC"),
            seed=metrics["seed"],
            n_resamples=metrics["n_resamples"],
            per_client=per_client,
        )
    except (OSError, JSONDecodeError, KeyError, TypeError, PolarsError) as error:
        raise DataError(
            f"{folder}: holds no evaluation that can be read: give the --out folder of recsys-train evaluate"
        ) from error


def _check_same(a: EvaluationRun, b: EvaluationRun) -> None:
    different = [name for name, value in a.asked.items() if b.asked[name] != value]
    if different:
        what = "; ".join(f"{name}: {_short(a, name)} and {_short(b, name)}" for name in different)
        raise DataError(f"{a.folder} and {b.folder} cannot be compared, they differ in {what}")


def _short(run: EvaluationRun, name: str) -> str:
    """A value in an error: digests by their beginning, cuts by their days where the data are from."""
    value = run.asked[name]
    if isinstance(value, list):
        return ", ".join(local(datetime.fromisoformat(one), run.time_zone) for one in value)
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def _pairs(
    a: EvaluationRun, b: EvaluationRun, model_a: str | None, model_b: str | None
) -> list[tuple[str, str]]:
    of_a, of_b = a.models(), b.models()
    if model_a is None and model_b is None:
        common = [(name, name) for name in of_a if name in of_b]
        return common or [(of_a[0], of_b[0])]
    pair = model_a or model_b or "", model_b or model_a or ""
    for run, names, name in ((a, of_a, pair[0]), (b, of_b, pair[1])):
        if name not in names:
            raise ConfigError(f"{run.folder} has no model {name!r}; it has {', '.join(names)}")
    return [pair]


def _paired(
    a: EvaluationRun, b: EvaluationRun, name_a: str, name_b: str
) -> tuple[tuple[str, str], pl.DataFrame]:
    """Rows of both models side by side."""
    one = a.per_client.filter(pl.col("model") == name_a)
    other = b.per_client.filter(pl.col("model") == name_b).select(*_KEY, *RANKING_METRICS)
    frame = one.join(other, on=_KEY, suffix="_b", maintain_order="left")
    if len(frame) != len(one) or len(one) != len(other):
        raise DataError(f"{a.folder} and {b.folder} judged different clients: evaluate both again")
    return (name_a, name_b), frame


def _contrast(frame: pl.DataFrame, names: tuple[str, str], metric: str, run: EvaluationRun) -> Contrast:
    found = compare_paired(
        frame[f"{metric}_b"].to_numpy(),
        frame[metric].to_numpy(),
        unit_codes(frame["unit"].to_list()),
        np.random.default_rng(run.seed),
        n_resamples=run.n_resamples,
    )
    return Contrast(
        model=names[1],
        baseline=names[0],
        metric=metric,
        value=found.candidate,
        baseline_value=found.baseline,
        difference=found.difference,
        bootstrap=found.bootstrap,
        p=found.p_value,
        adjusted_p=found.p_value,
        detectable=found.detectable,
        n_clients=len(frame),
    )


def _adjusted(contrasts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    adjusted = adjust(np.array([one.p for one in contrasts], dtype=np.float64), Correction.HOLM)
    return tuple(replace(one, adjusted_p=float(p)) for one, p in zip(contrasts, adjusted, strict=True))


def _is_nothing(contrast: Contrast) -> bool:
    """Whether not one client differs: then no resample does."""
    ends = contrast.difference, contrast.bootstrap
    return all(one.value == one.low == one.high == 0 for one in ends)


def _alike(contrast: Contrast) -> str:
    if contrast.model == contrast.baseline:
        return f"{contrast.model} ranks every client alike in both runs."
    return f"{contrast.baseline} of A and {contrast.model} of B rank every client alike."


def _sentence(contrast: Contrast, k: int) -> str:
    names = f"{contrast.model} of B"
    figures = (
        f"NDCG@{k} {contrast.value:.3f} against {contrast.baseline_value:.3f} of {contrast.baseline} of A"
    )
    if is_shown(contrast):
        word = "better" if contrast.difference.value > 0 else "worse"
        return f"{names} ranks {word}: {figures}, a difference of {difference_words(contrast)}."
    return (
        f"No difference is shown between {contrast.baseline} of A and {names}: {figures},"
        f" {difference_words(contrast)}; {detectable_words(contrast)}."
    )

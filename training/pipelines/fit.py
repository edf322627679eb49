"""Fit a recipe: models at as_of, calibrated on the windows before it, as a bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import orjson

import recsys
from recsys.bundle import Provenance, save_bundle
from recsys.data.dataset import Dataset
from recsys.data.snapshot import Snapshot, take_snapshot
from recsys.data.splits import first_adoptions
from recsys.domain import Target
from recsys.errors import ConfigError, DataError
from recsys.models.base import Scorer, TrainingSet
from recsys.models.boosted import Boosted
from recsys.models.calibration import Calibration
from recsys.models.popularity import Popularity
from recsys.models.recommender import Recommender
from recsys.texts import metric_text
from training.pipelines.adoptions import (
    MAX_PAIRS,
    Trial,
    adoption_window,
    calibrate,
    calibrate_fallback,
    main_trials,
    measure_calibration,
    measure_ranking,
)
from training.pipelines.evaluation.cuts import KnownWorld, known_at, parse_cut
from training.pipelines.past import past_windows
from training.pipelines.recipe import Recipe, load_recipe, recipe_path
from training.pipelines.reference import with_reference
from training.prepare.sources import open_dataset
from training.runs import check_folder, progress


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a fit left behind.

    Attributes:
        path: The bundle's folder.
        target: What the probabilities are probabilities of.
        metrics: What was measured on the windows before as_of, by name; see `measure_ranking`, for the
            last one, and `measure_calibration`.
    """

    path: Path
    target: Target
    metrics: Mapping[str, float]

    def to_json(self) -> str:
        """One JSON object: ``bundle`` (path), ``target`` and ``metrics``."""
        return orjson.dumps(
            {"bundle": str(self.path), "target": str(self.target), "metrics": dict(self.metrics)}
        ).decode()

    def __str__(self) -> str:
        figures = "\n".join(f"  {name} {metric_text(value)}" for name, value in self.metrics.items())
        return f"{self.path}\n  probabilities of {self.target}\n{figures}"


def training_set(dataset: Dataset, snapshot: Snapshot) -> TrainingSet:
    """A snapshot of a dataset as models read it, with the dataset's expert weights."""
    return TrainingSet.from_snapshot(
        snapshot, dataset.documents.get("expert.yaml"), dataset.table("offers")["offer_id"]
    )


def fit(
    data: str,
    config: str,
    as_of: datetime | str,
    out: Path,
    *,
    seed: int = 1,
    skip_bad_rows: bool = False,
) -> FitResult:
    """Fit a recipe and write a bundle.

    The models are first fitted as of ``as_of − horizon``, and again one horizon earlier for every further
    calibration window; what clients adopted from each start on gives the calibration and the metrics.
    Then they are fitted as of ``as_of``.

    Args:
        data: Folder of tables, or a database URL.
        config: Name of a shipped recipe, or a TOML file.
        as_of: Day or instant in the data's time zone; nothing recorded later is used.
        out: The folder of bundles.
        seed: Root seed of every random draw, ≥0.
        skip_bad_rows: Leave broken rows of the data out instead of refusing them.

    Raises:
        ConfigError: The recipe or as_of is wrong.
        DataError: The data are broken, or too short for this as_of and horizon; the text says which
            as_of works.
    """
    check_folder(out)
    name, recipe = recipe_path(config).stem, load_recipe(config)
    with progress(f"fit {name}", 4) as advance:
        dataset = open_dataset(data, skip_bad_rows=skip_bad_rows)
        zone = dataset.meta.time_zone
        instant = parse_cut(as_of, zone).astimezone(ZoneInfo(zone))
        _check_history(dataset, instant, recipe.horizon_days)
        advance(1)
        # what was recorded later tells nothing, and is let go: it would take memory all along
        dataset = known_at(dataset, instant)
        fitted = fit_recommender(recipe, dataset, instant, seed, lambda: advance(1))
        provenance = Provenance(
            name=name,
            created_at=datetime.now(UTC),
            as_of=instant,
            horizon_days=recipe.horizon_days,
            seed=seed,
            config_digest=recipe.digest(),
            data_digest=dataset.digest,
            code_digest=code_digest(),
            metrics=dict(fitted.metrics),
        )
        population = with_reference(fitted.recommender, fitted.training, dataset, seed)
        path = save_bundle(fitted.recommender, provenance, out, population)
        advance(1)
    return FitResult(path, fitted.recommender.target, fitted.metrics)


class FittedRecipe(NamedTuple):
    """A recipe after it learnt.

    Attributes:
        recommender: Scores, probabilities and what they are probabilities of.
        training: What it was fitted on; its population belongs into the bundle.
        metrics: What was measured on the past, by name.
    """

    recommender: Recommender
    training: TrainingSet
    metrics: Mapping[str, float]


def fit_recommender(
    recipe: Recipe, known: Dataset, as_of: datetime, seed: int, advance: Callable[[], None] = lambda: None
) -> FittedRecipe:
    """Fit a recipe as of an instant.

    A model that learns from exposures does so where the data have enough of them, and its target is
    acceptance; else the recipe's model for data without exposures is fitted, and the target is adoption.

    Args:
        recipe: What to fit.
        known: The dataset as it was known at as_of; see `known_at`.
        as_of: The instant, aware.
        seed: Root seed of every random draw, ≥0.
        advance: Told of every step done, two in all.

    Raises:
        ConfigError: The recipe or the seed is wrong.
        DataError: Nobody holds anything, or the data are too short to calibrate on.
        LeakageError: The data hold something recorded after as_of.
    """
    fit_rng, draw_rng, window_rng = _spawn_rngs(seed)
    snapshot = _snapshot_with_holdings(known, as_of)
    training = training_set(known, snapshot)
    advance()
    if recipe.make_main().reads_past:
        past = past_windows(known, as_of, recipe.horizon_days, recipe.past, window_rng)
        if past:
            fitted = _fit_on_exposures(recipe, replace(training, past=past), fit_rng)
            advance()
            return fitted
        recipe = recipe.for_adoption()
    learnt = _learn_from_windows(known, snapshot, recipe, window_rng, draw_rng)
    main, fallback = _fit_models(recipe, training, fit_rng)
    advance()
    return FittedRecipe(Recommender(main, fallback, learnt.main, learnt.fallback), training, learnt.metrics)


def fit_ranking(recipe: Recipe, world: KnownWorld, seed: int) -> tuple[Scorer, Popularity]:
    """What ranks, without what turns scores into probabilities: see `score_clients`.

    A calibration needs a horizon of history more, and changes no list.

    Args:
        recipe: What to fit.
        world: What may be learnt from.
        seed: Root seed of every random draw, ≥0.

    Returns:
        The main model and its fallback, the same as `fit_recommender` fits on what learns from exposures.

    Raises:
        ConfigError: The recipe or the seed is wrong.
        DataError: Nobody holds anything.
    """
    fit_rng, _, window_rng = _spawn_rngs(seed)
    training, as_of = world.training, world.training.as_of
    if not len(training.clients.columns):
        raise DataError(f"no client holds anything at {as_of.isoformat()}: choose a later as_of")
    if recipe.make_main().reads_past:
        past = past_windows(world.dataset, as_of, recipe.horizon_days, recipe.past, window_rng)
        if past:
            return _fit_models(recipe, replace(training, past=past), fit_rng)
        recipe = recipe.for_adoption()
    return _fit_models(recipe, training, fit_rng)


def _fit_on_exposures(recipe: Recipe, training: TrainingSet, rng: np.random.Generator) -> FittedRecipe:
    main, fallback = _fit_models(recipe, training, rng)
    recommender = Recommender(main, fallback, None, None, Target.ACCEPTANCE)
    metrics = {"n_windows": float(len(training.past))}
    if isinstance(main, Boosted):
        metrics |= main.figures
    return FittedRecipe(recommender, replace(training, past=()), metrics)


def _spawn_rngs(seed: int) -> list[np.random.Generator]:
    """Three independent streams of one root seed."""
    if seed < 0:
        raise ConfigError(f"seed is {seed}, must be at least 0")
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)]


@dataclass(frozen=True, slots=True)
class _Learnt:
    main: Calibration
    fallback: Calibration
    metrics: dict[str, float]


def _learn_from_windows(
    known: Dataset,
    end: Snapshot,
    recipe: Recipe,
    fit_rng: np.random.Generator,
    draw_rng: np.random.Generator,
) -> _Learnt:
    """Calibrations and metrics from the horizons before a snapshot."""
    starts = _window_starts(known, end.as_of, recipe)
    by_main: list[Trial] = []
    by_fallback: list[Trial] = []
    ranking: dict[str, float] = {}
    for start in starts:
        training = training_set(known, start)
        main, fallback = _fit_models(recipe, training, fit_rng)
        adoptions = first_adoptions(known, start.as_of, recipe.horizon_days)
        window = adoption_window(start, end, training, adoptions, draw_rng, MAX_PAIRS // len(starts))
        by_main.append(Trial(main, window))
        by_fallback.append(Trial(main if main.reads_profiles else fallback, window))
        ranking = ranking or measure_ranking(main, fallback, window)
        end = start
    by_main = main_trials(by_main)
    per_bin = recipe.adoptions_per_bin
    return _Learnt(
        main=calibrate(by_main, per_bin),
        fallback=calibrate_fallback(by_fallback, per_bin),
        metrics={**ranking, **measure_calibration(by_main, per_bin, draw_rng)},
    )


def _window_starts(known: Dataset, as_of: datetime, recipe: Recipe) -> list[Snapshot]:
    """Starts of the calibration windows, the latest first.

    Every window but the latest has a whole horizon of history before it: where the data begin, hardly
    anybody holds anything yet.
    """
    horizon = timedelta(days=recipe.horizon_days)
    starts = [_snapshot_with_holdings(known, as_of - horizon)]
    first = _first_known_at(known)
    while len(starts) < recipe.calibration_windows and starts[-1].as_of - 2 * horizon >= first:
        start = take_snapshot(known, starts[-1].as_of - horizon)
        if not any(state.holdings for state in start.states):
            break
        starts.append(start)
    return starts


def _fit_models(recipe: Recipe, training: TrainingSet, rng: np.random.Generator) -> tuple[Scorer, Popularity]:
    return recipe.make_main().fit(training, rng), Popularity(recipe.fallback).fit(training, rng)


def _snapshot_with_holdings(dataset: Dataset, as_of: datetime) -> Snapshot:
    snapshot = take_snapshot(dataset, as_of)
    if not snapshot.states:
        raise DataError(f"no client has a valid profile at {as_of.isoformat()}: choose another as_of")
    if not any(state.holdings for state in snapshot.states):
        raise DataError(f"no client holds anything at {as_of.isoformat()}: choose a later as_of")
    return snapshot


def _check_history(dataset: Dataset, as_of: datetime, horizon_days: int) -> None:
    """Refuse a window before the data begin, or after they end: its figures would be about nothing."""
    start = as_of - timedelta(days=horizon_days)
    first, (_, last_holding) = _first_known_at(dataset), _recorded_span(dataset, "holdings")
    if first > as_of:
        raise DataError(f"nothing is known at {as_of.isoformat()}: the data begin at {first.isoformat()}")
    if first > start:
        earliest = first.astimezone(as_of.tzinfo) + timedelta(days=horizon_days)
        raise DataError(
            f"the calibration looks back {horizon_days} days from {as_of.isoformat()}, but the data begin at"
            f" {first.isoformat()}: the earliest as_of that works is {earliest.isoformat()};"
            " or set a shorter horizon_days in the recipe"
        )
    if last_holding <= start:
        raise DataError(
            f"no holding was recorded in the {horizon_days} days before {as_of.isoformat()}, the last one at"
            f" {last_holding.isoformat()}: choose an earlier as_of, or load newer data"
        )


def _first_known_at(dataset: Dataset) -> datetime:
    """From when on both clients and holdings are known."""
    return max(_recorded_span(dataset, table)[0] for table in ("clients", "holdings"))


def _recorded_span(dataset: Dataset, table: str) -> tuple[datetime, datetime]:
    recorded_at = dataset.table(table)["recorded_at"]
    first, last = recorded_at.min(), recorded_at.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        raise DataError(
            f"the table {table} of dataset {dataset.meta.name!r} is empty: there is nothing to learn from"
        )
    return first, last


def code_digest() -> str:
    """SHA-256 over the library's source files, by path."""
    root = Path(recsys.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()

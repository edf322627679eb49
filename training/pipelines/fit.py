"""Fit a recipe: models at as_of, calibrated on the windows before it, as a bundle."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import polars as pl
from pydantic import Field, JsonValue

import recsys
from recsys.bundle import RECIPE_NAME, Provenance, save_bundle
from recsys.config import RunConfig
from recsys.data.dataset import Dataset
from recsys.data.snapshot import Snapshot, take_snapshot
from recsys.data.splits import first_adoptions
from recsys.errors import ConfigError, DataError
from recsys.features.population import fit_population
from recsys.models.base import Scorer, TrainingSet
from recsys.models.calibration import Calibration
from recsys.models.popularity import Popularity, PopularityParams
from recsys.models.recommender import Recommender
from recsys.models.registry import make_scorer
from training.pipelines.adoptions import (
    MAX_PAIRS,
    Trial,
    adoption_window,
    calibrate,
    fallback_trials,
    main_trials,
    measure_calibration,
    measure_ranking,
)
from training.pipelines.cuts import parse_cut
from training.prepare.sources import open_dataset
from training.runs import check_folder, progress

CONFIGS = Path(__file__).parent.parent / "configs"


class Recipe(RunConfig):
    """What to fit.

    Attributes:
        model: Name of the main model, for clients with holdings.
        params: Its parameters; what is left out takes the model's default.
        fallback: Popularity for clients without holdings.
        horizon_days: Days within which an adoption must happen, ≥1.
        calibration_windows: How many horizons before as_of the calibration learns from, ≥1; fewer where
            the data do not reach a horizon further back.
        adoptions_per_bin: Adoptions behind each step of a calibration, ≥1.
    """

    model: str
    params: dict[str, JsonValue] = Field(default_factory=dict)
    fallback: PopularityParams = Field(default_factory=PopularityParams)
    horizon_days: int = Field(default=30, ge=1)
    calibration_windows: int = Field(default=3, ge=1)
    adoptions_per_bin: int = Field(default=25, ge=1)

    def make_main(self) -> Scorer:
        """The unfitted main model; ConfigError if its name or a parameter is wrong."""
        return make_scorer(self.model, self.params)


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a fit left behind.

    Attributes:
        path: The bundle's folder.
        metrics: What was measured on the windows before as_of, by name; see `measure_ranking`, for the
            last one, and `measure_calibration`.
    """

    path: Path
    metrics: Mapping[str, float]

    def to_json(self) -> str:
        """One JSON object: ``bundle`` (path) and ``metrics``."""
        return orjson.dumps({"bundle": str(self.path), "metrics": dict(self.metrics)}).decode()

    def __str__(self) -> str:
        figures = "\n".join(f"  {name} {value:.4g}" for name, value in self.metrics.items())
        return f"{self.path}\n{figures}"


def recipe_path(name_or_file: str) -> Path:
    """The file of a recipe.

    Raises:
        ConfigError: No shipped recipe and no file is called so, or its name cannot name a bundle.
    """
    shipped = CONFIGS / f"{name_or_file}.toml"
    is_shipped = re.fullmatch(RECIPE_NAME, name_or_file) is not None and shipped.is_file()
    path = shipped if is_shipped else Path(name_or_file)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.toml")))
        raise ConfigError(f"there is no recipe {name_or_file!r}: name a TOML file or one of {known}")
    if re.fullmatch(RECIPE_NAME, path.stem) is None:
        raise ConfigError(
            f"{path}: a recipe's name may hold lower-case letters, digits, - and _ only; rename it"
        )
    return path


def load_recipe(name_or_file: str) -> Recipe:
    """A shipped recipe by name, or one of your own by file.

    Raises:
        ConfigError: It does not exist, or something in it is wrong.
    """
    path = recipe_path(name_or_file)
    recipe = Recipe.load(path)
    try:
        recipe.make_main()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return recipe


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
    fit_rng, draw_rng, window_rng = _spawn_rngs(seed)
    with progress(f"fit {name}", 5) as advance:
        dataset = open_dataset(data, skip_bad_rows=skip_bad_rows)
        zone = dataset.meta.time_zone
        instant = parse_cut(as_of, zone).astimezone(ZoneInfo(zone))
        _check_history(dataset, instant, recipe.horizon_days)
        advance(1)
        known = known_at(dataset, instant)
        snapshot = _snapshot_with_holdings(known, instant)
        advance(1)
        learnt = _learn_from_windows(known, snapshot, recipe, window_rng, draw_rng)
        advance(1)
        main, fallback = _fit_models(recipe, training_set(known, snapshot), fit_rng)
        advance(1)
        recommender = Recommender(main, fallback, learnt.main, learnt.fallback)
        provenance = Provenance(
            name=name,
            created_at=datetime.now(UTC),
            as_of=instant,
            horizon_days=recipe.horizon_days,
            seed=seed,
            config_digest=recipe.digest(),
            data_digest=dataset.digest,
            code_digest=_code_digest(),
            metrics=learnt.metrics,
        )
        population = fit_population(snapshot.states, snapshot.offers, instant)
        path = save_bundle(recommender, provenance, out, population)
        advance(1)
    return FitResult(path, learnt.metrics)


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
        by_fallback.append(Trial(fallback, window))
        ranking = ranking or measure_ranking(main, fallback, window)
        end = start
    by_main = main_trials(by_main)
    per_bin = recipe.adoptions_per_bin
    return _Learnt(
        main=calibrate(by_main, per_bin),
        fallback=calibrate(fallback_trials(by_fallback), per_bin),
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


def known_at(dataset: Dataset, as_of: datetime) -> Dataset:
    """The dataset as it was known at as_of: rows recorded later are left out."""
    return replace(
        dataset,
        tables={
            name: frame.filter(pl.col("recorded_at") <= as_of.astimezone(UTC))
            if "recorded_at" in frame.columns
            else frame
            for name, frame in dataset.tables.items()
        },
    )


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


def _code_digest() -> str:
    """SHA-256 over the library's source files, by path."""
    root = Path(recsys.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()

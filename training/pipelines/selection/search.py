"""Search for a recipe: try many on earlier windows, hold the winner against simple models on a later one.

Everything happens before as_of. The latest window before it is kept for the verdict and chooses nothing;
recipes are tried on windows that end before that one begins, so that no trial has seen a day of it.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import numpy as np
import orjson

from recsys.bundle import RECIPE_NAME
from recsys.errors import ConfigError, DataError, RecsysError
from recsys.evaluation.comparison import compare_paired
from recsys.evaluation.intervals import Estimate, unit_codes
from recsys.evaluation.ranking import find_hits, ndcg
from recsys.evaluation.report import LONGEST_DAYS, SIMPLE_MODELS
from recsys.models.base import ClientBatch, FloatArray
from recsys.models.recommender import score_clients
from training.pipelines.evaluation.contestants import Scores
from training.pipelines.evaluation.cuts import CutTruth, known_at, parse_cut
from training.pipelines.fit import fit_ranking
from training.pipelines.recipe import Recipe, load_recipe
from training.pipelines.selection.contest import rank_by
from training.pipelines.selection.spaces import SPACES, Space, recipe_of, to_toml
from training.pipelines.selection.windows import take_windows
from training.prepare.sources import open_dataset
from training.runs import Advance, check_folder, progress

Clock = Callable[[], float]
_KEPT = 3  # of so many recipes the best one goes on to the next window
_SHARE_OF_FIRST = 0.5  # of the time, for the first window


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        out: The recipe's file.
        written: What it holds: ``found``, or the name of the simple model that is as good.
        recipe: The recipe written.
        found: The best recipe of the search, whether written or not.
        scores: NDCG on the last window, by name; ``found`` is one of them.
        difference: ``found`` minus the best simple model there, with its 95 % interval.
        best_simple: That model.
        last_window: When it begins, in the dataset's zone, and the number of clients judged.
        n_recipes: Recipes tried.
        n_failed: Those of them that these data do not allow.
    """

    out: Path
    written: str
    recipe: Recipe
    found: Recipe
    scores: Mapping[str, float]
    difference: Estimate
    best_simple: str
    last_window: tuple[str, int]
    n_recipes: int
    n_failed: int

    def __str__(self) -> str:
        day, n_clients = self.last_window
        lines = [f"{name:<12} NDCG {value:.4f}" for name, value in sorted(self.scores.items(), key=_by_score)]
        difference = self.difference
        interval = f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
        if self.written == "found":
            verdict = f"the recipe found beats {self.best_simple} by {interval}: it is written"
        else:
            verdict = (
                f"the recipe found does not clearly beat {self.best_simple} ({interval}): the simple model is"
                " written"
            )
        tried = f"recipes tried: {self.n_recipes}; impossible with these data: {self.n_failed}"
        judged = f"on the window from {day}, which chose nothing ({n_clients:,} clients):"
        return "\n".join([tried, judged, *lines, verdict, str(self.out)])

    def to_json(self) -> str:
        """The same as one JSON object; an end of the interval that is not bounded is null."""
        ends = {name: getattr(self.difference, name) for name in ("value", "low", "high")}
        return orjson.dumps(
            {
                "out": str(self.out),
                "written": self.written,
                "recipe": self.recipe.model_dump(mode="json"),
                "found": self.found.model_dump(mode="json"),
                "ndcg": dict(self.scores),
                "best_simple": self.best_simple,
                "difference": {name: end if math.isfinite(end) else None for name, end in ends.items()},
                "last_window": {"from": self.last_window[0], "n_clients": self.last_window[1]},
                "n_recipes": self.n_recipes,
                "n_failed": self.n_failed,
            }
        ).decode()


def _by_score(item: tuple[str, float]) -> float:
    return -item[1]


@dataclass(slots=True)
class _Trial:
    """A recipe and what it reached on the windows tried so far; where it failed, why, and no values."""

    recipe: Recipe
    values: list[FloatArray] = field(default_factory=list)
    failure: str = ""

    def mean(self, n_windows: int) -> float:
        """Over the first windows, which it must have been tried on: others do not compare."""
        return float(np.concatenate(self.values[:n_windows]).mean())


@dataclass(slots=True)
class _Budget:
    """What may still be spent."""

    seconds: float
    max_recipes: int | None
    clock: Clock
    advance: Advance
    started_at: float
    shown: int = 0

    def is_left(self, share: float) -> bool:
        """Whether less than this share of the time is spent."""
        spent = self.clock() - self.started_at
        done = min(int(spent), int(self.seconds))
        self.advance(done - self.shown)
        self.shown = done
        return spent < share * self.seconds


def search(  # noqa: PLR0913 – the parameters of the command
    data: str,
    as_of: datetime | str,
    minutes: float,
    out: Path,
    *,
    models: Sequence[str] = (),
    horizon_days: int = 30,
    k: int = 10,
    max_recipes: int | None = None,
    seed: int = 1,
    clock: Clock = time.monotonic,
) -> SearchResult:
    """Try recipes for so many minutes, and write the best one, or the simple model that is as good.

    The measure is NDCG over what clients connected within the horizon. Half of the time goes to many recipes
    on one window; the better third goes on to the next window, and so on. The shipped default is tried too,
    ahead of the others on each window, and the best recipe of the search is chosen over the windows that it
    shares with the default. Popularity, trend and EASE, as they ship, choose nothing: the recipe chosen is
    held against them on the last window. A trial fits what ranks and calibrates nothing.

    Args:
        data: Folder of tables, or a database URL.
        as_of: Day or instant in the data's time zone; nothing recorded later is used.
        minutes: Budget of the trials; the one under way when it ends is finished. Reading the data before
            them and the last window after them take their own time.
        out: The recipe's file, ``.toml``; its name becomes the recipe's.
        models: Models to search over; none = every model that has a space.
        horizon_days: Days within which a connection counts, ≥1; written into the recipe.
        k: Length of the lists judged, ≥1.
        max_recipes: Stop after so many, which makes the outcome independent of the machine; None = no limit.
        seed: Root seed, ≥0.
        clock: Seconds.

    Raises:
        ConfigError: The file's name, a model, as_of or a number is wrong.
        DataError: The data are broken or too short for two windows, one before the other, or no recipe can be
            fitted on them.
    """
    spaces = _spaces(models)
    _check_file(out)
    _check_numbers(minutes, horizon_days, k, seed)
    dataset = open_dataset(data)
    instant = parse_cut(as_of, dataset.meta.time_zone)
    known = known_at(dataset, instant)
    last = take_windows(known, instant, horizon_days)[0]
    windows = take_windows(known, last.as_of, horizon_days)
    for truth in (last, *windows):
        if k > len(truth.offers):
            raise ConfigError(f"k is {k}, but only {len(truth.offers)} offers are known at {truth.told()}")
    seconds = 60.0 * minutes
    with progress("search", max(int(seconds), 1)) as advance:
        budget = _Budget(seconds, max_recipes, clock, advance, clock())
        race = _Race(windows, k, seed)
        trials = race.run(spaces, horizon_days, budget)
    return _conclude(_best(trials), trials, last, horizon_days, _Writing(out, k, seed))


def _spaces(models: Sequence[str]) -> Mapping[str, Space]:
    unknown = sorted(set(models) - set(SPACES))
    if unknown:
        raise ConfigError(
            f"there is nothing to search over for {unknown[0]!r}; choose among {', '.join(SPACES)}"
        )
    return MappingProxyType({name: SPACES[name] for name in models or SPACES})


def _check_file(out: Path) -> None:
    if out.suffix != ".toml" or re.fullmatch(RECIPE_NAME, out.stem) is None or out.is_dir():
        raise ConfigError(
            f"{out}: name a file like retail.toml (lower-case letters, digits, - and _): it names the recipe"
        )
    if not out.parent.is_dir():
        raise ConfigError(f"{out.parent}: there is no such folder for the recipe; make it")
    check_folder(out.parent)


def _check_numbers(minutes: float, horizon_days: int, k: int, seed: int) -> None:
    if not 0.0 < 60.0 * minutes < math.inf:
        raise ConfigError(f"minutes is {minutes}, must be above 0 and finite")
    for name, value in (("horizon_days", horizon_days), ("k", k)):
        if value <= 0:
            raise ConfigError(f"{name} is {value}, must be above 0")
    if horizon_days > LONGEST_DAYS:
        raise ConfigError(f"horizon_days is {horizon_days}, must be at most {LONGEST_DAYS}")
    if seed < 0:
        raise ConfigError(f"seed is {seed}, must be at least 0")


class _Race:
    """Recipes on windows; what was measured once is kept."""

    def __init__(self, windows: Sequence[CutTruth], k: int, seed: int) -> None:
        self._windows = windows
        self._k = k
        self._seed = seed

    def run(self, spaces: Mapping[str, Space], horizon_days: int, budget: _Budget) -> list[_Trial]:
        """Every recipe tried; the first is the shipped default."""
        rng = np.random.default_rng(self._seed)
        default = load_recipe("default").model_copy(update={"horizon_days": horizon_days})
        trials = [_Trial(default)]
        self._try(trials[0], 1)
        tried = {default.digest()}
        n_points = sum(math.prod(len(choices) for choices in space.values()) for space in spaces.values())
        n_draws = 0
        while self._goes_on(trials, budget) and n_draws < 20 * n_points:
            n_draws += 1
            recipe = _draw(spaces, horizon_days, rng)
            if recipe.digest() not in tried:
                tried.add(recipe.digest())
                trials.append(_Trial(recipe))
                self._try(trials[-1], 1)
        self._narrow(trials, budget)
        return trials

    @staticmethod
    def _goes_on(trials: Sequence[_Trial], budget: _Budget) -> bool:
        is_within = budget.max_recipes is None or len(trials) < budget.max_recipes
        return is_within and budget.is_left(_SHARE_OF_FIRST)

    def _narrow(self, trials: Sequence[_Trial], budget: _Budget) -> None:
        """The default and the better third of the others go on to the next window while there is time."""
        default, running = trials[0], [trial for trial in trials[1:] if trial.values]
        for n_windows in range(2, len(self._windows) + 1):
            running.sort(key=lambda trial: -trial.mean(n_windows - 1))
            running = running[: math.ceil(len(running) / _KEPT)]
            # without rivals nothing is left to choose; a default that failed before is none
            ahead = [default] if running and default.values else []
            for trial in (*ahead, *running):
                if budget.is_left(1.0):
                    self._try(trial, n_windows)
            running = [trial for trial in running if len(trial.values) == n_windows]

    def _try(self, trial: _Trial, n_windows: int) -> None:
        try:
            for truth in self._windows[len(trial.values) : n_windows]:
                trial.values.append(values_of(trial.recipe, truth, self._k, self._seed))
        except RecsysError as error:
            trial.values.clear()  # a recipe that some window does not allow is none
            trial.failure = str(error)


def _best(trials: Sequence[_Trial]) -> _Trial:
    """The best of the default and of those that came furthest, over the windows that all of them share."""
    default, others = trials[0], trials[1:]
    n_windows = max((len(trial.values) for trial in others), default=0) or len(default.values)
    if not n_windows:
        raise DataError(
            f"none of the {len(trials)} recipes tried can be fitted on the windows before as_of"
            f" ({default.failure}): choose a later as_of or a shorter horizon"
        )
    rivals = [trial for trial in trials if len(trial.values) >= n_windows]
    return max(rivals, key=lambda trial: trial.mean(n_windows))


def values_of(recipe: Recipe, truth: CutTruth, k: int, seed: int) -> FloatArray:
    """NDCG of a recipe for each adopter of a window."""
    main, fallback = fit_ranking(recipe, truth.known, seed)

    def predict(clients: ClientBatch) -> Scores:
        return score_clients(main, fallback, clients), None

    ranked = rank_by(predict, truth, k)
    return ndcg(find_hits(ranked, truth.relevant[truth.adopters]))


def _draw(spaces: Mapping[str, Space], horizon_days: int, rng: np.random.Generator) -> Recipe:
    names = list(spaces)
    name = names[int(rng.integers(len(names)))]
    chosen = {key: choices[int(rng.integers(len(choices)))] for key, choices in spaces[name].items()}
    return recipe_of(name, chosen, horizon_days)


@dataclass(frozen=True, slots=True)
class _Writing:
    out: Path
    k: int
    seed: int


def _conclude(
    finalist: _Trial, trials: Sequence[_Trial], last: CutTruth, horizon_days: int, to: _Writing
) -> SearchResult:
    """Hold the finalist against the simple models on the window that chose nothing, and write a recipe."""
    simple = {name: Recipe(model=name, horizon_days=horizon_days) for name in SIMPLE_MODELS}
    values = {}
    with progress("last window", len(simple) + 1) as advance:
        for name, recipe in (*simple.items(), ("found", finalist.recipe)):
            values[name] = values_of(recipe, last, to.k, to.seed)
            advance(1)
    best = max(simple, key=lambda name: float(values[name].mean()))
    units = unit_codes([last.units[row] for row in last.adopters.tolist()])
    comparison = compare_paired(values["found"], values[best], units, np.random.default_rng(to.seed))
    is_better = comparison.difference.low > 0.0
    recipe = finalist.recipe if is_better else simple[best]
    result = SearchResult(
        out=to.out,
        written="found" if is_better else best,
        recipe=recipe,
        found=finalist.recipe,
        scores={name: float(value.mean()) for name, value in values.items()},
        difference=comparison.difference,
        best_simple=best,
        last_window=(last.told(), len(last.adopters)),
        n_recipes=len(trials),
        n_failed=sum(not trial.values for trial in trials),
    )
    try:
        to.out.write_text(to_toml(recipe, str(result).splitlines()[:-1]), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{to.out}: the recipe cannot be written: {error.strerror}") from error
    return result

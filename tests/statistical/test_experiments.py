"""Experiments err as seldom as they say, on what clients of the made-up operator really do.

A world is simulated once. A *client-window* is what a client connected, by whatever channel, within some days
of a date; its account group is its unit. Windows of 4, 18 and 84 days give base rates of .5, 2 and 10 %; the
margin of what was connected has the heavy tail that the world's quantities have. A run draws units with
replacement, assigns them by chance, and is analysed as a real experiment is. In an A/A run arms are alike; in
an A/B run every unit of the control keeps what it connected with a known probability, so the true effect is
known. Seeds were fixed before the first run.

The suite does a slice; ``make soak`` does 10,000 runs of each cell and prints the table that
docs/how-to/experiments.md publishes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from recsys.decision.policy.scope import OfferScope
from recsys.experiments.adjustment import variance_reduction
from recsys.experiments.comparing import Rows, compare, measured
from recsys.experiments.experiment import Measure, Metric, MetricKind
from recsys.experiments.inference import Fixed, Scale
from recsys.experiments.judgement import (
    MAXIMUM_SKEW,
    MAXIMUM_TAIL,
    MINIMUM_EVENTS,
    MINIMUM_UNITS,
    judge,
)
from recsys.experiments.measures import measure, read_sources
from recsys.experiments.outcomes import MetricValues
from recsys.experiments.samples import samples_by_arm
from recsys.experiments.sequential import AlwaysValid, half_width
from recsys.simulation.catalogue import read_catalogue
from recsys.simulation.record import record_world
from recsys.simulation.tails import hill
from recsys.simulation.world import World

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
WINDOWS = {0.005: 4, 0.02: 18, 0.1: 84}  # base rate → days
SIZES = (150, 1_000, 10_000)
N_DAYS = 28
LIFT = 0.5
N_RUNS_SOAK = 10_000
LEAST_TOLD = 100

TAKEN = Metric(name="taken", measure=Measure.ACTIVATIONS)
MARGIN = Metric(name="margin", measure=Measure.MARGIN, kind=MetricKind.MEAN)
CUT = Metric(name="margin_cut", measure=Measure.MARGIN, kind=MetricKind.MEAN, winsorised_at=0.99)
METRICS = {metric.name: metric for metric in (TAKEN, MARGIN, CUT)}


@dataclass(frozen=True)
class Population:
    """Client-windows in the order of their units.

    Attributes:
        taken: Whether anything was connected, shape (n_rows,).
        margins: Margin of what was connected, minor units.
        before: Whether anything was connected in as many days before.
        strata: Size class of the unit's first client, a code for each row.
        starts: First row of each unit, shape (n_units,).
        sizes: Rows of each unit.
    """

    taken: np.ndarray
    margins: np.ndarray
    before: np.ndarray
    strata: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    @property
    def rate(self) -> float:
        return float(self.taken.mean())

    def truth(self, metric: Metric, threshold: float) -> float:
        """The mean over clients, of what counts when values are cut at a threshold."""
        if metric is TAKEN:
            return self.rate
        return (
            float(np.minimum(self.margins, threshold).mean()) if metric is CUT else float(self.margins.mean())
        )

    @cached_property
    def rows_per_unit(self) -> float:
        return float(self.sizes.mean())


@pytest.fixture(scope="module")
def populations() -> dict[float, Population]:
    """One population for each base rate."""
    world = World.load(DEMO / "worlds" / "typical.toml")
    world = world.model_copy(update={"n_clients": 8_000, "n_months": 8, "seed": 20_260_606})
    tables = record_world(world, read_catalogue(DEMO), lambda _: None)
    clients = tables["clients"].sort("valid_from").unique("client_id", keep="last").sort("client_id")
    unit = pl.coalesce("account_group_id", "client_id")
    sources = read_sources(tables, tables["holdings"]["recorded_at"].max())  # type: ignore[arg-type]
    begins = [datetime(2025, month, 1, tzinfo=UTC) for month in (6, 7, 8, 9)]
    found = {}
    for rate, n_days in WINDOWS.items():
        windows = pl.concat(
            clients.select(
                "client_id",
                pl.lit(at).cast(pl.Datetime("us", "UTC")).alias("begins_at"),
                pl.lit(at + timedelta(days=n_days)).cast(pl.Datetime("us", "UTC")).alias("ends_at"),
                pl.format("{} {}", unit, pl.lit(at.month)).alias("unit"),
                pl.col("size").fill_null("unknown").rank("dense").alias("stratum"),
            )
            for at in begins
        ).sort("unit", "client_id")
        n_taken = measure(Measure.ACTIVATIONS, sources, windows, OfferScope())
        margins = measure(Measure.MARGIN, sources, windows, OfferScope())
        earlier = windows.select(
            "client_id",
            (pl.col("begins_at") - timedelta(days=n_days)).alias("begins_at"),
            pl.col("begins_at").alias("ends_at"),
        )
        n_before = measure(Measure.ACTIVATIONS, sources, earlier, OfferScope())
        _, starts, sizes = np.unique(windows["unit"].to_numpy(), return_index=True, return_counts=True)
        strata = np.repeat(windows["stratum"].to_numpy()[starts].astype(np.int64), sizes)
        taken, before = ((n > 0).astype(np.float64) for n in (n_taken, n_before))
        found[rate] = Population(taken, margins, before, strata, starts, sizes)
    return found


class Drawn(NamedTuple):
    """Many runs at once, runs_by_units: the unit drawn, its arm, its day, whether its outcome is kept."""

    units: np.ndarray
    arms: np.ndarray
    days: np.ndarray
    kept: np.ndarray


def draw_runs(
    population: Population, n_per_arm: int, lift: float, n_runs: int, rng: np.random.Generator
) -> Drawn:
    """Units arrive over 28 days and fall into two arms.

    With a lift every unit of the control keeps what it connected with probability 1 / (1 + lift).
    """
    shape = (n_runs, round(2 * n_per_arm / population.rows_per_unit))
    arms = rng.integers(2, size=shape, dtype=np.int8)
    kept = np.ones(shape, dtype=bool)
    if lift:
        kept = (arms == 1) | (rng.random(shape, dtype=np.float32) < 1 / (1 + lift))
    units = rng.integers(len(population.starts), size=shape, dtype=np.int32)
    return Drawn(units, arms, rng.integers(N_DAYS, size=shape, dtype=np.int8), kept)


def clients_of(population: Population, drawn: Drawn, run: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the clients of one run, and the code of each one's unit."""
    units = drawn.units[run]
    sizes = population.sizes[units]
    codes = np.repeat(np.arange(len(units)), sizes)
    first = np.cumsum(sizes) - sizes
    return np.arange(len(codes)) + np.repeat(population.starts[units] - first, sizes), codes


def rows_of(
    population: Population, drawn: Drawn, run: int, metric: str
) -> tuple[np.ndarray, Rows, np.ndarray]:
    """Values of the clients of one run, who they are, and their days."""
    rows, codes = clients_of(population, drawn, run)
    source = population.taken if metric == "taken" else population.margins
    arms = drawn.arms[run].astype(np.int64)[codes]
    return source[rows] * drawn.kept[run][codes], Rows(codes, arms, None, 2), drawn.days[run][codes]


class Moments(NamedTuple):
    """Sums over the units so far, runs_by_arms_by_days each: what `Sample` is made of."""

    n: np.ndarray
    y: np.ndarray
    c: np.ndarray
    yy: np.ndarray
    yc: np.ndarray
    cc: np.ndarray
    yyy: np.ndarray
    events: np.ndarray


def moments_of(population: Population, drawn: Drawn, metric: str) -> Moments:
    n_runs = len(drawn.units)
    source = population.taken if metric == "taken" else population.margins
    y = np.add.reduceat(source, population.starts)[drawn.units] * drawn.kept
    c = population.sizes[drawn.units].astype(np.float64)
    cells = (np.arange(n_runs)[:, None] * 2 + drawn.arms) * N_DAYS + drawn.days

    def total(weights: np.ndarray | None) -> np.ndarray:
        flat = None if weights is None else weights.ravel()
        sums = np.bincount(cells.ravel(), weights=flat, minlength=n_runs * 2 * N_DAYS)
        return sums.reshape(n_runs, 2, N_DAYS).cumsum(axis=2).astype(np.float64)

    return Moments(
        total(None), total(y), total(c), total(y * y), total(y * c), total(c * c), total(y**3), total(y != 0)
    )


class Ends(NamedTuple):
    """Intervals of many looks at once; NaN where nothing can be told."""

    low: np.ndarray
    high: np.ndarray
    relative_low: np.ndarray
    relative_high: np.ndarray


def judge_all(m: Moments, test: Fixed | AlwaysValid) -> Ends:
    """What `judge` says of two arms of clients clustered by unit, in its own arithmetic, on whole arrays."""
    with np.errstate(all="ignore"):
        rate = m.y / m.c
        size = m.c / m.n
        scatter = m.yy - 2 * rate * m.yc + rate**2 * m.cc
        errors = scatter / (m.n - 1) / size**2 / m.n
        variance = errors.sum(axis=1)
        difference, base = rate[:, 1] - rate[:, 0], rate[:, 0]
        if isinstance(test, Fixed):
            degrees = variance**2 / (errors**2 / (m.n - 1)).sum(axis=1)
            critical = stdtrit(degrees, 1 - test.alpha / 2)
        else:
            critical = np.vectorize(lambda n: half_width(max(n, 1.0), test.rate, test.alpha))(m.n.sum(axis=1))
        margin = critical * np.sqrt(variance)
        lead = base**2 - critical**2 * errors[:, 0]
        middle = difference * base + critical**2 * errors[:, 0]
        root = np.sqrt(np.maximum(middle**2 - lead * (difference**2 - critical**2 * variance), 0))
    is_told = _adequate(m) & (errors > 0).all(axis=1)
    has_base = is_told & (base > 0) & (lead > 0)
    none = np.nan
    return Ends(
        np.where(is_told, difference - margin, none),
        np.where(is_told, difference + margin, none),
        np.where(has_base, (middle - root) / np.where(has_base, lead, 1), none),
        np.where(has_base, (middle + root) / np.where(has_base, lead, 1), none),
    )


def _adequate(m: Moments) -> np.ndarray:
    n, y, yy, yyy, events = (part.sum(axis=1) for part in (m.n, m.y, m.yy, m.yyy, m.events))
    smaller = m.n.min(axis=1)
    with np.errstate(all="ignore"):
        mean = y / n
        third = yyy - 3 * mean * yy + 2 * n * mean**3
        tail = np.abs(third) / (yy - n * mean**2) ** 1.5
        unequal = np.abs(m.n[:, 1] - m.n[:, 0]) / np.sqrt(m.n[:, 0] * m.n[:, 1])
        is_lopsided = (unequal * tail > MAXIMUM_SKEW) | (tail > MAXIMUM_TAIL)
        return (smaller >= MINIMUM_UNITS) & (smaller * events / n >= MINIMUM_EVENTS) & ~is_lopsided


@dataclass
class Tally:
    """What became of the runs of one cell.

    Attributes:
        n_runs: Runs.
        n_told: Runs in which something could be told.
        n_found: Of them: the interval left 0 out.
        n_covered: Of them: the interval held the truth.
    """

    n_runs: int = 0
    n_told: int = 0
    n_found: int = 0
    n_covered: int = 0

    def add(self, low: ArrayLike, high: ArrayLike, truth: ArrayLike) -> None:
        """Runs, or runs_by_looks: found = at any look, covered = at every look that tells something."""
        low, high = (np.atleast_1d(end).reshape(np.atleast_1d(end).shape[0], -1) for end in (low, high))
        is_told = ~np.isnan(low)
        told = is_told.any(axis=1)
        truths = np.asarray(truth, dtype=np.float64)
        truths = truths if truths.ndim == 2 else np.broadcast_to(truths, (len(low),))[:, None]
        self.n_runs += len(low)
        self.n_told += int(told.sum())
        self.n_found += int(((low > 0) | (high < 0)).any(axis=1).sum())
        self.n_covered += int((told & ~((low > truths) | (high < truths)).any(axis=1)).sum())

    @property
    def refused(self) -> float:
        return 1 - self.n_told / self.n_runs

    @property
    def found(self) -> float:
        return self.n_found / self.n_runs

    @property
    def covered(self) -> float:
        return self.n_covered / self.n_told if self.n_told else 1.0


@dataclass
class Cell:
    """What became of one cell, by metric: looked at once on both scales, and daily."""

    once: dict[str, Tally]
    once_relative: dict[str, Tally]
    daily: dict[str, Tally]


def run_cell(
    population: Population, n_per_arm: int, lift: float, n_runs: int, seed: int, *, is_cut: bool = True
) -> Cell:
    """Analyse so many experiments, once at their end and daily; the cut margin on every fourth day."""
    rng = np.random.default_rng(seed)
    cell = Cell(*({name: Tally() for name in METRICS} for _ in range(3)))
    daily = AlwaysValid(tuned_to=2 * n_per_arm)
    share = lift / (1 + lift)
    for chunk in range(0, n_runs, step := max(1, 1_000_000 // n_per_arm)):
        drawn = draw_runs(population, n_per_arm, lift, min(step, n_runs - chunk), rng)
        for name in ("taken", "margin"):
            truth = population.truth(METRICS[name], np.inf) * share
            moments = moments_of(population, drawn, name)
            once = judge_all(Moments(*(part[:, :, -1:] for part in moments)), Fixed())
            cell.once[name].add(once.low, once.high, truth)
            cell.once_relative[name].add(once.relative_low, once.relative_high, lift)
            often = judge_all(moments, daily)
            cell.daily[name].add(often.low, often.high, truth)
        if is_cut:
            _run_cut(population, drawn, share, lift, cell)
            _run_cut_daily(population, drawn, share, daily, cell)
    return cell


def _run_cut(population: Population, drawn: Drawn, share: float, lift: float, cell: Cell) -> None:
    """The winsorised margin, run by run through the functions of the analysis."""
    found = []
    for run in range(len(drawn.units)):
        values, rows, _ = rows_of(population, drawn, run, "margin")
        cut = measured(CUT, MetricValues(values), rows)
        absolute, relative = compare((cut.samples[0], cut.samples[1]), (), Fixed())
        truth = population.truth(CUT, cut.threshold) * share
        found.append((absolute.low, absolute.high, relative.low, relative.high, truth))
    low, high, relative_low, relative_high, truths = np.array(found).T
    cell.once["margin_cut"].add(low, high, truths)
    cell.once_relative["margin_cut"].add(relative_low, relative_high, lift)


def _run_cut_daily(population: Population, drawn: Drawn, share: float, test: AlwaysValid, cell: Cell) -> None:
    """The same on every fourth day, by the test that may be looked at daily; the threshold moves along."""
    found = []
    for run in range(len(drawn.units)):
        values, rows, days = rows_of(population, drawn, run, "margin")
        looks = []
        for day in range(3, N_DAYS, 4):
            so_far = days <= day
            cut = measured(CUT, MetricValues(values[so_far]), rows.chosen(so_far))
            absolute = judge(*cut.samples, test, Scale.ABSOLUTE)
            looks.append((absolute.low, absolute.high, population.truth(CUT, cut.threshold) * share))
        found.append(looks)
    low, high, truths = np.array(found).transpose(2, 0, 1)
    cell.daily["margin_cut"].add(low, high, truths)


def monte_carlo(share: float, n: int) -> float:
    """Three standard errors of a share."""
    return 3 * (share * (1 - share) / n) ** 0.5


def seed_of(*cell: float) -> int:
    """The seed of a cell, fixed by what it is."""
    return int(sum(1_000 ** (2 - place) * value for place, value in enumerate(cell)) * 1_000) % 2**32


CELLS = [pytest.param(size, rate, id=f"{size}-{100 * rate:g}%") for size in SIZES for rate in WINDOWS]
soak = pytest.mark.soak


def check_calibrated(tally: Tally, bar: float, what: str) -> None:
    """False positives of all runs, and coverage where something was told; with room for Monte Carlo."""
    slack = monte_carlo(bar, tally.n_runs) if tally.n_runs < N_RUNS_SOAK else 0.0
    assert tally.found <= bar + slack, f"{what}: {tally.found:.4f} false positives"
    if tally.n_told >= LEAST_TOLD:
        slack = monte_carlo(0.935, tally.n_told)
        assert tally.covered >= 0.935 - slack, f"{what}: coverage {tally.covered:.4f}"


def test_tail_of_the_margin_is_heavy(populations: dict[float, Population]) -> None:
    """A power tail of index below 1 has no mean in the limit: what the methods must live with."""
    assert hill(populations[0.1].margins).index < 1
    for rate, population in populations.items():
        assert population.rate == pytest.approx(rate, rel=0.25)


def test_whole_arrays_are_judged_as_one_experiment_is(populations: dict[float, Population]) -> None:
    """The runs below go through `judge_all`: to the last digits what `judge` says of the same clients."""
    population = populations[0.1]
    drawn = draw_runs(population, 400, LIFT, 8, np.random.default_rng(10))
    n_told = 0
    for metric in ("taken", "margin"):
        moments = moments_of(population, drawn, metric)
        for test in (Fixed(), AlwaysValid(tuned_to=800)):
            fast = judge_all(moments, test)
            for run in range(8):
                values, rows, days = rows_of(population, drawn, run, metric)
                for day in range(N_DAYS):
                    arms = np.where(days <= day, rows.arms, -1)
                    pair = samples_by_arm(metric, values, arms, 2, units=rows.units)
                    absolute, relative = (judge(pair[0], pair[1], test, scale) for scale in Scale)
                    ends = (absolute.low, absolute.high, relative.low, relative.high)
                    assert [part[run, day] for part in fast] == pytest.approx(ends, rel=1e-6, nan_ok=True)
                    n_told += absolute.cause is None
    assert n_told > 200


@pytest.mark.parametrize(("n_per_arm", "rate"), [(150, 0.1), (1_000, 0.02), (1_000, 0.1)])
def test_slice_holds_its_level(populations: dict[float, Population], n_per_arm: int, rate: float) -> None:
    for lift in (0.0, LIFT):
        cell = run_cell(populations[rate], n_per_arm, lift, 500, seed_of(n_per_arm, rate, lift))
        check_cell(cell, lift)


def check_cell(cell: Cell, lift: float) -> None:
    for name, tally in cell.once.items():
        check_calibrated(tally, 1.0 if lift else 0.055, f"{name}, once, lift {lift}")
        check_calibrated(cell.once_relative[name], 1.0 if lift else 0.055, f"{name}, relative, lift {lift}")
        if cell.daily[name].n_runs:
            check_calibrated(cell.daily[name], 1.0 if lift else 0.05, f"{name}, daily, lift {lift}")


def test_what_cannot_be_told_is_refused(populations: dict[float, Population]) -> None:
    """150 clients per arm of whom one in 200 connects something: nothing is said, whatever came out."""
    cell = run_cell(populations[0.005], 150, LIFT, 100, 7)
    assert {tally.refused for tally in (*cell.once.values(), cell.daily["taken"])} == {1.0}


def test_looking_daily_with_a_fixed_test_is_shown_to_fail(populations: dict[float, Population]) -> None:
    drawn = draw_runs(populations[0.1], 1_000, 0.0, 500, np.random.default_rng(11))
    ends = judge_all(moments_of(populations[0.1], drawn, "taken"), Fixed())
    assert ((ends.low > 0) | (ends.high < 0)).any(axis=1).mean() > 0.1


@pytest.mark.parametrize("n_runs", [300, pytest.param(10_000, marks=soak)])
@pytest.mark.parametrize(("n_per_arm", "rate"), [(150, 0.1), (1_000, 0.1)])
def test_strata_and_covariates_keep_the_level(
    populations: dict[float, Population], n_per_arm: int, rate: float, n_runs: int
) -> None:
    """Post-stratified by size and adjusted by what clients connected before, as the analysis does."""
    population = populations[rate]
    metric = TAKEN.model_copy(update={"covariate": Measure.ACTIVATIONS})
    drawn = draw_runs(population, n_per_arm, 0.0, n_runs, np.random.default_rng(14))
    tally = Tally()
    for run in range(n_runs):
        chosen, codes = clients_of(population, drawn, run)
        rows = Rows(codes, drawn.arms[run].astype(np.int64)[codes], population.strata[chosen], 2)
        values = MetricValues(population.taken[chosen], before=population.before[chosen])
        found = measured(metric, values, rows)
        strata = [(cells[0], cells[1]) for cells in found.strata]
        absolute, _ = compare((found.samples[0], found.samples[1]), strata, Fixed())
        tally.add(absolute.low, absolute.high, 0.0)
    check_calibrated(tally, 0.055, "adjusted")


@pytest.mark.parametrize("n_runs", [300, pytest.param(10_000, marks=soak)])
def test_client_level_test_fails_where_groups_were_drawn_and_ours_holds(n_runs: int) -> None:
    """Companies under one roof decide alike: as if independent, they are counted many times."""
    rng = np.random.default_rng(12)
    as_clients, as_units = Tally(), Tally()
    for _ in range(n_runs):
        sizes = rng.geometric(0.2, size=300)
        units = np.repeat(np.arange(300), sizes)
        arms = rng.integers(2, size=300)[units]
        values = (rng.random(300) < 0.2)[units].astype(np.float64)
        for tally, codes in ((as_clients, np.arange(len(units))), (as_units, units)):
            found = measured(TAKEN, MetricValues(values), Rows(codes, arms, None, 2))
            finding = judge(*found.samples, Fixed(), Scale.ABSOLUTE)
            tally.add(finding.low, finding.high, 0.0)
    assert as_clients.found > 0.2
    check_calibrated(as_units, 0.055, "by unit")


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.9])
def test_covariate_takes_its_squared_correlation_of_the_variance(correlation: float) -> None:
    """CUPED: what is left of the variance is 1 − ρ², over 400 experiments and within each."""
    rng = np.random.default_rng(13)
    metric = Metric(name="spend", measure=Measure.SPEND, kind=MetricKind.MEAN, covariate=Measure.SPEND)
    plain, adjusted, told = [], [], []
    for _ in range(400):
        before = rng.standard_normal(400)
        values = correlation * before + (1 - correlation**2) ** 0.5 * rng.standard_normal(400) + 10
        arms = rng.integers(2, size=400)
        rows = Rows(np.arange(400), arms, None, 2)
        found = measured(metric, MetricValues(values, before=before + 10), rows)
        plain.append(values[arms == 1].mean() - values[arms == 0].mean())
        adjusted.append(judge(*found.samples, Fixed(), Scale.ABSOLUTE).value)
        told.append(variance_reduction(*found.samples))
    reduction = 1 - np.var(adjusted) / np.var(plain)
    error = 2 * (1 - correlation**2) * (2 / 400) ** 0.5  # of a ratio of variances of 400 correlated values
    assert reduction == pytest.approx(correlation**2, abs=3 * error)
    assert np.mean(told) == pytest.approx(correlation**2, abs=3 * np.std(told) / 20 + 2 / 400)


@soak
@pytest.mark.parametrize(("n_per_arm", "rate"), CELLS)
def test_every_cell_holds_its_level(
    populations: dict[float, Population], n_per_arm: int, rate: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """10,000 A/A runs of every cell, and 2,000 with an effect of +50 %; prints the published rows."""
    population = populations[rate]
    nothing = run_cell(population, n_per_arm, 0.0, N_RUNS_SOAK, seed_of(n_per_arm, rate, 0))
    effect = run_cell(population, n_per_arm, LIFT, N_RUNS_SOAK // 5, seed_of(n_per_arm, rate, LIFT))
    with capsys.disabled():
        print()
        for how in ("once", "daily"):
            for metric in METRICS:
                tallies = [getattr(cell, how)[metric] for cell in (nothing, effect)]
                if tallies[0].n_runs:
                    relative = effect.once_relative[metric] if how == "once" else None
                    print(row_of(how, metric, n_per_arm, rate, tallies, relative), flush=True)
    check_cell(nothing, 0.0)
    check_cell(effect, LIFT)


def row_of(
    how: str, metric: str, n_per_arm: int, rate: float, tallies: list[Tally], relative: Tally | None
) -> str:
    """One row of the published table, in per cent."""
    nothing, effect = tallies
    enough = [one is not None and one.n_told >= LEAST_TOLD for one in (nothing, effect, relative)]
    covered = [
        one.covered if one and is_enough else None
        for one, is_enough in zip((nothing, effect, relative), enough, strict=True)
    ]
    figures = [nothing.refused, nothing.found, covered[0], effect.found, *covered[1:]]
    shown = " | ".join("–" if one is None else f"{100 * one:.1f}" for one in figures)
    return f"| {how} | {metric} | {n_per_arm:,} | {100 * rate:g} % | {shown} |"

"""Before an experiment: what it would find among the clients there are, told from their own history.

Whoever imports this module loads Polars, so a server does so late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import floor, isfinite
from typing import NamedTuple

import numpy as np
import polars as pl

from recsys.decision.conditions.compile import ConditionSet
from recsys.errors import InvalidRequestError
from recsys.experiments.comparing import Rows, measured, tuned_to
from recsys.experiments.experiment import Experiment, Holdout, Method
from recsys.experiments.inference import best_theta
from recsys.experiments.measures import read_sources
from recsys.experiments.outcomes import metric_values
from recsys.experiments.power import Design, Feasibility, History, feasibility, history_of
from recsys.experiments.results import Text
from serving.ports import Store
from serving.services.experiment_population import Population, population_of
from serving.services.experiment_results import tables_of

_WEEK = timedelta(days=7)
_MOST_WEEKS = 13
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Plan:
    """What an experiment would find.

    Attributes:
        metric: The primary metric.
        as_of: The last moment that the history knows of.
        n_clients: Clients that could enter: targeted, not held out.
        n_units: Their units.
        units_by_week: How many of them asked for a list within so many weeks, for 1, 2 … weeks before as_of;
            empty = no decision is logged, so all are taken to come at once.
        n_expected: Units that are analysed when the last window closes: coverage, layer, planned end and
            the share of those who are triggered counted in.
        baseline: The metric over the last window; None = nothing is known.
        minimum_effect: The relative effect that is to be found.
        power: Chance to find it with these units; None = cannot be told.
        smallest_effect: The relative effect found with a chance of 80 %; None = none is.
        units_needed: Units that the wanted effect needs; None = cannot be told.
        weeks_needed: Weeks until they have come, windows not counted in; None = longer than the history.
        share_triggered: Share of those who come that was taken to be analysed.
        is_enough: Whether it is worth starting.
        verdict: All that in words.
    """

    metric: str
    as_of: datetime
    n_clients: int
    n_units: int
    units_by_week: tuple[int, ...]
    n_expected: int
    baseline: float | None
    minimum_effect: float
    power: float | None
    smallest_effect: float | None
    units_needed: int | None
    weeks_needed: int | None
    share_triggered: float
    is_enough: bool
    verdict: Text

    def as_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "as_of": self.as_of.isoformat()}


class Setting(NamedTuple):
    """What an experiment is planned in.

    Attributes:
        holdout: Who is withheld.
        targeting: Its condition on clients, compiled; None = everybody.
        share_triggered: Share of the units that come whose lists differ between the arms, above 0 to 1:
            only they are analysed.
    """

    holdout: Holdout
    targeting: ConditionSet | None
    share_triggered: float = 1.0


def plan_of(store: Store, experiment: Experiment, setting: Setting, now: datetime) -> Plan:
    """Plan an experiment from what the store knows of the clients that could enter it.

    Args:
        store: Clients, holdings, decisions.
        experiment: The document.
        setting: What it is planned in.
        now: The present instant.

    Raises:
        InvalidRequestError: The share of triggered units is none.
    """
    share = setting.share_triggered
    if not 0 < share <= 1:
        raise InvalidRequestError("share_triggered", f"a share above 0 to 1 is needed, not {share:g}")
    tables = tables_of(store)
    population = population_of(store, experiment, setting.holdout, setting.targeting, now)
    as_of = _last_known(tables, now)
    weeks = _units_by_week(experiment, tables, population, as_of)
    n_units = len(set(population.unit_ids))
    entering = _entering(experiment) * share
    n_expected = floor(_coming(experiment, weeks, n_units, now) * entering)
    history = _history(experiment, tables, population, as_of)
    efficiency = _efficiency(experiment)
    found = feasibility(experiment.minimum_effect, history, n_expected * efficiency, _design(experiment))
    needed = None if found.units_needed is None else int(np.ceil(found.units_needed / efficiency))
    in_weeks = [n * entering for n in weeks]
    late = next((week for week, n in enumerate(in_weeks, 1) if needed is not None and n >= needed), None)
    verdict = (
        _verdict(experiment, found, n_expected, needed, late)
        if isfinite(found.power)
        else _untellable(experiment, history, n_units, n_expected)
    )
    return Plan(
        metric=experiment.primary.name,
        as_of=as_of,
        n_clients=len(population.client_ids),
        n_units=n_units,
        units_by_week=weeks,
        n_expected=n_expected,
        baseline=history.mean if isfinite(history.mean) else None,
        minimum_effect=experiment.minimum_effect,
        power=found.power if isfinite(found.power) else None,
        smallest_effect=found.smallest_effect,
        units_needed=needed,
        weeks_needed=late,
        share_triggered=share,
        is_enough=found.is_enough,
        verdict=verdict + _counted(share),
    )


def _last_known(tables: Mapping[str, pl.DataFrame], now: datetime) -> datetime:
    """When the newest decision, event or holding became known: where data end, nothing happens after."""
    newest = [
        tables[name].filter(pl.col("recorded_at") <= now)["recorded_at"].max()
        for name in ("decisions", "events", "holdings")
    ]
    known = [each for each in newest if isinstance(each, datetime)]
    return max(known, default=now)


def _units_by_week(
    experiment: Experiment, tables: Mapping[str, pl.DataFrame], population: Population, as_of: datetime
) -> tuple[int, ...]:
    """How many units came within 1, 2 … weeks; an experiment that starts gathers its units like that."""
    decisions = tables["decisions"].filter(pl.col("occurred_at") <= as_of)
    if experiment.placements:
        decisions = decisions.filter(pl.col("placement_id").is_in(list(experiment.placements)))
    units = pl.DataFrame(
        {"client_id": population.client_ids, "unit_id": population.unit_ids},
        schema={"client_id": pl.String, "unit_id": pl.String},
    )
    came = decisions.join(units, on="client_id")
    first_at = came["occurred_at"].min()
    if not isinstance(first_at, datetime):
        return ()
    n_weeks = min(_MOST_WEEKS, max(1, (as_of - first_at) // _WEEK))
    begins_at = as_of - n_weeks * _WEEK
    first = (
        came.filter(pl.col("occurred_at") > begins_at).group_by("unit_id").agg(pl.col("occurred_at").min())
    )
    number = ((first["occurred_at"] - begins_at).dt.total_microseconds() - 1) // int(
        _WEEK / timedelta(microseconds=1)
    )
    counts = np.bincount(number.to_numpy().astype(np.int64), minlength=n_weeks)
    return tuple(int(n) for n in np.cumsum(counts[:n_weeks]))


def _entering(experiment: Experiment) -> float:
    """Share of the units that come which is let in."""
    low, high = experiment.layer_range if experiment.layer is not None else (0.0, 1.0)
    return experiment.coverage * (high - low)


def _coming(experiment: Experiment, weeks: Sequence[int], n_units: int, now: datetime) -> int:
    """Units that come while their windows can still close before the planned end."""
    if not weeks:
        return n_units
    if experiment.planned_end_at is None:
        return weeks[-1]
    left = experiment.planned_end_at - timedelta(days=experiment.window_days) - now
    return weeks[min(left // _WEEK, len(weeks)) - 1] if left >= _WEEK else 0


def _history(
    experiment: Experiment, tables: Mapping[str, pl.DataFrame], population: Population, as_of: datetime
) -> History:
    """The primary metric over the last window of the clients that could enter."""
    width = timedelta(days=experiment.window_days)
    instant = pl.Datetime("us", "UTC")
    clients = pl.DataFrame({"client_id": population.client_ids}, schema={"client_id": pl.String})
    windows, before = (
        clients.with_columns(
            pl.lit(as_of - n * width).cast(instant).alias("begins_at"),
            pl.lit(as_of - (n - 1) * width).cast(instant).alias("ends_at"),
        )
        for n in (1, 2)
    )
    values = metric_values(experiment.primary, read_sources(tables, as_of), windows, before)
    codes = np.unique(np.array(population.unit_ids, dtype=np.str_), return_inverse=True)[1].astype(np.int64)
    rows = Rows(codes, np.zeros(len(codes), dtype=np.int64), None, 1)
    (sample,) = measured(experiment.primary, values, rows).samples
    if not sample.n_units:
        return History(float("nan"), float("nan"))
    return history_of(sample, best_theta(sample, sample))


def _design(experiment: Experiment) -> Design:
    """How it is judged; the level is shared by the arms that are compared with the control."""
    n_arms = len(experiment.arms)
    is_daily = experiment.method is Method.SEQUENTIAL
    at = tuned_to(experiment) if is_daily else None
    return Design(n_arms, experiment.alpha / (n_arms - 1), _POWER, tuned_to=at)


def _efficiency(experiment: Experiment) -> float:
    """What a unit of these arms is worth against one of arms of equal size; 1 = they are equal."""
    control, *others = experiment.weights
    return 2 * len(experiment.arms) / (1 / control + 1 / min(others))


def _untellable(experiment: Experiment, history: History, n_units: int, n_expected: int) -> Text:
    """Why there is no chance to tell."""
    name, days = experiment.primary.name, experiment.window_days
    if not n_units:
        return Text(
            "Сказать нельзя: под условие не подходит ни один клиент; расширьте условие.",
            "Cannot tell: no client meets the targeting; widen it.",
        )
    if not n_expected and experiment.planned_end_at is not None:
        return Text(
            f"Сказать нельзя: никто не войдёт так, чтобы окно в {days} дн. успело закрыться до"
            " planned_end_at; назначьте более поздний срок или расширьте охват.",
            f"Cannot tell: nobody comes in time for a window of {days} days to be over by planned_end_at;"
            " plan a later end, or widen the coverage.",
        )
    if not n_expected:
        return Text(
            "Сказать нельзя: при таком охвате никто не войдёт; расширьте охват, слой или места показа.",
            "Cannot tell: nobody would enter at this coverage; widen coverage, layer or placements.",
        )
    if history.mean and not history.variance > 0:
        return Text(
            f"Сказать нельзя: за последние {days} дн. «{name}» одинаков у всех этих клиентов; возьмите"
            " показатель, который у них различается.",
            f"Cannot tell: in the last {days} days {name!r} was the same for all of these clients; take a"
            " metric in which they differ.",
        )
    return Text(
        f"Сказать нельзя: за последние {days} дн. у этих клиентов не было ничего из «{name}»; возьмите"
        " показатель, который бывает, или расширьте условие.",
        f"Cannot tell: in the last {days} days these clients did nothing of {name!r}; take a metric that"
        " happens already, or widen the targeting.",
    )


def _verdict(
    experiment: Experiment, found: Feasibility, n_units: int, needed: int | None, weeks: int | None
) -> Text:
    name, effect = experiment.primary.name, f"{experiment.minimum_effect:.0%}"
    if found.is_enough:
        late = f" They come within about {weeks} weeks." if weeks else ""
        late_ru = f" Они наберутся примерно за {weeks} нед." if weeks else ""
        return Text(
            f"{n_units} участников хватает: изменение «{name}» на {effect} будет найдено с вероятностью"
            f" {found.power:.0%}; нужно {needed}.{late_ru} Ещё {experiment.window_days} дн. ждать последних"
            " исходов.",
            f"{n_units} units are enough: a change of {name!r} by {effect} is found with a chance of"
            f" {found.power:.0%}; {needed} are needed.{late} The last outcomes take"
            f" {experiment.window_days} days more.",
        )
    return Text(
        f"Участников мало: {n_units}, а чтобы найти изменение «{name}» на {effect}, нужно"
        f" {needed or 'больше, чем бывает'}. {_what_is_found_ru(found)} Смелее изменение, чаще показатель или"
        " дольше срок – иначе ответ, скорее всего, будет «сказать нельзя».",
        f"The population is too small: {n_units} units, and to find a change of {name!r} by {effect} it takes"
        f" {needed or 'more than there are anywhere'}. {_what_is_found(found)} Try a bolder change, a metric"
        " that happens more often, or a longer time; else the answer will most likely be “cannot tell”.",
    )


def _counted(share: float) -> Text:
    """Who was taken to be analysed."""
    if share == 1:
        return Text(
            "Посчитано так, будто списки различаются у всех, кто их запросит; участвуют только те, у кого они"
            " различаются – задайте их долю (share_triggered).",
            "This counts everybody who asks for a list as if the lists of the arms differed for all of them;"
            " only those for whom they differ are analysed – give their share (share_triggered).",
        )
    return Text(
        f"Считается, что списки различаются у {share:.0%} тех, кто их запросит.",
        f"The lists are taken to differ for {share:.0%} of those who ask for one.",
    )


def _what_is_found(found: Feasibility) -> str:
    if found.expected_events < found.minimum_events:
        n_expected, n_least = found.expected_events, found.minimum_events
        return f"About {n_expected:.0f} outcomes an arm are expected, {n_least:.0f} are the least."
    if found.smallest_effect is None:
        return "So few find no effect however large."
    return f"So many find {found.smallest_effect:+.0%} or more."


def _what_is_found_ru(found: Feasibility) -> str:
    if found.expected_events < found.minimum_events:
        return (
            f"Ожидается около {found.expected_events:.0f} исходов на вариант, а нужно не меньше"
            f" {found.minimum_events:.0f}."
        )
    if found.smallest_effect is None:
        return "Столько участников не обнаружат никакого эффекта."
    return f"Столько участников обнаружат эффект от {found.smallest_effect:+.0%}."

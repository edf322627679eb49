"""The results of an experiment on a terminal, in Russian or English."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from recsys.domain import Language
from recsys.experiments.results import Comparison, GuardrailResult, Results, Role, Text
from recsys.experiments.wording import (
    NO_FIGURE,
    cause_text,
    number_text,
    p_text,
    percent_text,
    relative_text,
    value_text,
)
from serving.commands.terminal import note, print_table, say

_ROLES: Mapping[Role, Text] = MappingProxyType(
    {
        Role.PRIMARY: Text("главный", "primary"),
        Role.SECONDARY: Text("дополнительный", "secondary"),
        Role.GUARDRAIL: Text("ограничение", "guardrail"),
    }
)
_HOLDS: Mapping[bool | None, Text] = MappingProxyType(
    {
        True: Text("соблюдается", "holds"),
        False: Text("нарушено", "breached"),
        None: Text("пока не ясно", "not clear yet"),
    }
)
_PEOPLE = (
    Text("вариант", "arm"),
    Text("задано", "planned"),
    Text("единиц", "units"),
    Text("клиентов", "clients"),
    Text("увидели бы разное", "would see a difference"),
    Text("окно открыто", "window open"),
    Text("в анализе", "analysed"),
)
_METRICS = (
    Text("показатель", "metric"),
    Text("роль", "role"),
    Text("вариант", "arm"),
    Text("контроль", "control"),
    Text("в варианте", "arm's"),
    Text("абсолютно", "absolute"),
    Text("относительно", "relative"),
    Text("p с поправкой", "adjusted p"),
)
_GUARDRAILS = (
    Text("ограничение", "guardrail"),
    Text("вариант", "arm"),
    Text("относительно, можно смотреть каждый день", "relative, may be looked at daily"),
    Text("допустимый вред", "harm tolerated"),
    Text("вывод", "conclusion"),
)
_MONEY = Text("Суммы – в целых единицах валюты данных.", "Amounts are in whole units of the data's currency.")


def print_results(found: Results, language: Language) -> None:
    """Print who takes part, every metric, the guardrails, the sample ratio and the verdicts."""
    for alarm in found.alarms:
        note(f"! {alarm.why.told(language)}")
    _print_people(found, language)
    rows = [_metric_row(line, language) for line in found.comparisons]
    print_table(_header(_METRICS, language), rows)
    if any(line.is_money for line in found.comparisons):
        say(_MONEY.told(language))
    if found.guardrails:
        print_table(
            _header(_GUARDRAILS, language), [_guardrail_row(one, language) for one in found.guardrails]
        )
    say(_ratio(found).told(language))
    for verdict in found.verdicts:
        say(f"{verdict.arm}: {verdict.why.told(language)} {verdict.needed.told(language)}".rstrip())


def _header(names: tuple[Text, ...], language: Language) -> tuple[str, ...]:
    return tuple(name.told(language) for name in names)


def _print_people(found: Results, language: Language) -> None:
    rows = []
    for arm in found.arms:
        counts = arm.counts
        figures = (counts.n_units, counts.n_clients, counts.n_triggered, counts.n_open, counts.n_analysed)
        told = (number_text(figure, 0, language) for figure in figures)
        rows.append((arm.name, percent_text(arm.weight, language), *told))
    print_table(_header(_PEOPLE, language), rows)


def _metric_row(line: Comparison, language: Language) -> tuple[str, ...]:
    return (
        line.metric,
        _ROLES[line.role].told(language),
        line.arm,
        value_text(line, line.control, language),
        value_text(line, line.treatment, language),
        _absolute(line, language),
        _relative(line, language),
        p_text(line, language),
    )


def _absolute(line: Comparison, language: Language) -> str:
    found = line.absolute
    value = value_text(line, found.value, language, is_signed=True)
    if found.cause is not None:
        return f"{value} ({cause_text(found.cause).told(language)})"
    ends = (value_text(line, end, language, is_signed=True) for end in (found.low, found.high))
    return f"{value} ({' … '.join(ends)})"


def _relative(line: Comparison, language: Language) -> str:
    """The cause stands once, with the absolute difference, where it is the same."""
    if line.relative.cause is not None and line.relative.cause == line.absolute.cause:
        return NO_FIGURE
    return relative_text(line.relative, language)


def _guardrail_row(one: GuardrailResult, language: Language) -> tuple[str, ...]:
    margin, holds = percent_text(one.margin, language), _HOLDS[one.holds].told(language)
    return one.metric, one.arm, relative_text(one.relative, language), margin, holds


def _ratio(found: Results) -> Text:
    """Whether the arms have the units that their weights promise."""
    ratio = found.sample_ratio
    told = []
    for language in ("ru", "en"):
        counts = ", ".join(
            f"{arm.name} {number_text(n, 0, language)} / {number_text(expected, 0, language)}"
            for arm, n, expected in zip(found.arms, ratio.n_units, ratio.n_expected, strict=True)
        )
        p_value = number_text(ratio.always_valid_p_value, 3, language)
        told.append(f"{counts}; p = {p_value}" if sum(ratio.n_units) else counts)
    fits = Text("не соответствует заданному", "does not fit the weights")
    if not sum(ratio.n_units):
        fits = Text("пока никого нет", "there is nobody yet")
    elif not ratio.is_mismatch:
        fits = Text("расхождения не найдено", "no mismatch found")
    return Text(
        f"Соотношение вариантов (единиц есть / ожидалось): {told[0]}: {fits.ru}.",
        f"Sample ratio (units found / expected): {told[1]}: {fits.en}.",
    )

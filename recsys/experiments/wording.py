"""Figures and causes in words: what people read where a program reads numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from recsys.experiments.comparing import CUT_AWAY, NOT_KNOWN
from recsys.experiments.inference import Cause
from recsys.experiments.results import Comparison, Interval, Text

NOTHING = Text("", "")
NO_FIGURE = "\N{EN DASH}"

CAUSES: Mapping[str, tuple[Text, Text]] = MappingProxyType(
    {
        Cause.NO_UNITS.value: (
            Text("в одном из вариантов ещё нет клиентов", "one of the arms has no clients yet"),
            Text("Подождите, пока закроются окна клиентов.", "Wait until windows of clients are over."),
        ),
        Cause.FEW_UNITS.value: (
            Text("в одном из вариантов меньше 20 единиц", "one of the arms has fewer than 20 units"),
            Text("Нужно не меньше 20 единиц в каждом варианте.", "At least 20 units per arm are needed."),
        ),
        Cause.FEW_EVENTS.value: (
            Text(
                "событий слишком мало: в меньшем варианте ожидается меньше десяти",
                "there are too few events: fewer than ten are to be expected in the smaller arm",
            ),
            Text(
                "Дайте эксперименту идти дольше, расширьте охват или возьмите более частый показатель.",
                "Let it run longer, widen its coverage, or take a metric that happens more often.",
            ),
        ),
        Cause.LOPSIDED.value: (
            Text(
                "почти весь показатель приходится на нескольких клиентов",
                "a few clients carry nearly all of the metric",
            ),
            Text(
                "Обрежьте хвост (winsorised_at: 0.99) или сравнивайте доли подключивших.",
                "Cut the tail (winsorised_at: 0.99), or compare shares of clients who connected.",
            ),
        ),
        Cause.NO_VARIANCE.value: (
            Text(
                "все значения одинаковы: сравнивать нечего",
                "all values are equal: there is nothing to compare",
            ),
            Text(
                "Нужны события хотя бы в одном из вариантов.",
                "Events are needed in at least one of the arms.",
            ),
        ),
        Cause.ZERO_BASELINE.value: (
            Text("у контроля показатель равен нулю", "the control's value is zero"),
            Text("Смотрите на абсолютную разницу.", "Look at the absolute difference."),
        ),
        Cause.UNBOUNDED.value: (
            Text(
                "значение контроля само неотличимо от нуля",
                "the control's own value cannot be told from zero",
            ),
            Text("Смотрите на абсолютную разницу.", "Look at the absolute difference."),
        ),
        Cause.NOT_YET.value: (
            Text(
                "на этом взгляде ещё ничего нельзя найти: уровень значимости почти не потрачен",
                "at this planned look nothing may be found yet: hardly any of alpha is spent by then",
            ),
            Text("Дождитесь следующего запланированного взгляда.", "Wait for the next planned look."),
        ),
        CUT_AWAY: (
            Text(
                "обрезка убрала всё: значение выше нуля у слишком малой доли клиентов",
                "the cut leaves nothing: too small a share of clients has any",
            ),
            Text("Возьмите winsorised_at ближе к 1.", "Take a winsorised_at nearer to 1."),
        ),
        NOT_KNOWN: (
            Text("значения ещё не известны", "the values are not known yet"),
            Text(
                "Подождите, пока загрузятся подключения и счета этих дней; для расходов в окне должен быть"
                " целый месяц (62 дней хватает всегда).",
                "Wait until sales and bills of these days are loaded; spend needs a whole month inside the"
                " window (62 days always hold one).",
            ),
        ),
    }
)


def cause_text(cause: str) -> Text:
    """Why nothing can be told, as half a sentence."""
    return CAUSES[cause][0]


def figures_text(line: Comparison, alpha: float) -> Text:
    """A comparison's figures as half a sentence; both scales are named."""
    told = []
    for language, relative, share in (("ru", "относительно", "интервал"), ("en", "relative", "interval")):
        control, treatment = (value_text(line, value, language) for value in (line.control, line.treatment))
        level = f"{100 * (1 - alpha):g} %".replace(".", "," if language == "ru" else ".")
        if line.relative.cause is None:
            change = signed_percent_text(line.relative.value, language)
            tail = f"{relative} {change}, {level} {share} {interval_text(line.relative, language)}"
        else:
            absolute = {"ru": "разница", "en": "absolute"}[language]
            ends = " … ".join(value_text(line, end, language, is_signed=True) for end in _ends(line.absolute))
            change = value_text(line, line.absolute.value, language, is_signed=True)
            tail = f"{absolute} {change}, {level} {share} {ends}"
        told.append(f"{line.metric} {control} → {treatment}, {tail}")
    return Text(*told)


def value_text(line: Comparison, value: float, language: str, *, is_signed: bool = False) -> str:
    """A value of a metric: an amount in whole units, a percentage, or a number.

    Money is written in whole units of the currency, what lies between 0 and 1 in per cent, and differences of
    that in percentage points.
    """
    if not math.isfinite(value):
        return NO_FIGURE
    sign = "+" if is_signed and value > 0 else ""
    if line.is_money:
        return sign + number_text(value / 100, 2 if abs(value) < 100_000 else 0, language)
    if max(abs(line.control), abs(line.treatment)) <= 1:
        points = {"ru": "п. п.", "en": "pp"}[language] if is_signed else "%"
        return f"{sign}{number_text(100 * value, 2, language)} {points}"
    return sign + number_text(value, 3, language)


def interval_text(interval: Interval, language: str) -> str:
    """The ends of a relative interval."""
    return " … ".join(signed_percent_text(end, language) for end in _ends(interval))


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def signed_percent_text(share: float, language: str) -> str:
    """A relative effect in per cent, with its sign."""
    return ("+" if share > 0 else "") + percent_text(share, language)


def percent_text(share: float, language: str) -> str:
    """A share in per cent."""
    if not math.isfinite(share):
        return NO_FIGURE
    return f"{number_text(100 * share, 1 if abs(share) < 10 else 0, language)} %"


def number_text(value: float, digits: int, language: str) -> str:
    """A number with so many digits after the point, as the language writes it."""
    written = f"{value:,.{digits}f}"
    if language == "ru":
        written = written.replace(",", "\N{NO-BREAK SPACE}").replace(".", ",")
    return written.replace("-", "\N{MINUS SIGN}")


def p_value_text(p_value: float) -> Text:
    """A p with its name."""
    return (
        Text("p < 0,001", "p < 0.001")
        if p_value < 0.001
        else Text(f"p = {number_text(p_value, 3, 'ru')}", f"p = {number_text(p_value, 3, 'en')}")
    )


def relative_text(interval: Interval, language: str) -> str:
    """A relative effect with its interval; without one a dash and the cause in words."""
    if interval.cause is not None:
        return f"{NO_FIGURE} ({cause_text(interval.cause).told(language)})"
    return f"{signed_percent_text(interval.value, language)} ({interval_text(interval, language)})"


def p_text(line: Comparison, language: str) -> str:
    """The adjusted p of a comparison as a number; a dash where nothing can be told."""
    if line.cause is not None or not math.isfinite(line.adjusted_p_value):
        return NO_FIGURE
    if line.adjusted_p_value < 0.001:
        return "< " + number_text(0.001, 3, language)
    return number_text(line.adjusted_p_value, 3, language)

"""What the figures of an experiment mean, in words: better, worse, no difference, or cannot tell and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from recsys.decision.conditions.sentences import days_text
from recsys.experiments.inference import Cause
from recsys.experiments.randomisation import Randomisation
from recsys.experiments.results import (
    Alarm,
    ArmVerdict,
    Comparison,
    GuardrailResult,
    Results,
    Role,
    Says,
    Text,
)
from recsys.experiments.sample_ratio import ASSIGNED
from recsys.experiments.wording import (
    CAUSES,
    NOTHING,
    figures_text,
    interval_text,
    number_text,
    p_value_text,
    percent_text,
    signed_percent_text,
    value_text,
)

FIXED, ALWAYS_VALID, GROUP_SEQUENTIAL = "fixed", "always_valid", "group_sequential"
RANDOMISATION = "randomisation"
_OF_FEW = (Cause.FEW_EVENTS.value, Cause.LOPSIDED.value)

_TESTS: Mapping[str, Text] = MappingProxyType(
    {
        FIXED: Text("решает тест в запланированный срок", "decided by the one test at the planned end"),
        ALWAYS_VALID: Text(
            "решает тест, на который можно смотреть ежедневно",
            "decided by the test that may be looked at daily",
        ),
        GROUP_SEQUENTIAL: Text("решает тест этого взгляда", "decided by the test of this planned look"),
        RANDOMISATION: Text(
            "решает рандомизационный тест по допустимым солям",
            "decided by the randomisation test over the admissible salts",
        ),
    }
)


def verdict_of(results: Results, arm: str) -> ArmVerdict:
    """What is concluded of an arm by the primary metric.

    One p decides, after Holm over the arms: that of the experiment's method, or of the randomisation test
    where the draw was balanced and the experiment is fixed and at its plan. That test decides also where
    there is too little for normal theory; but that it then finds no difference rules none out.
    """
    line = next(one for one in results.comparisons if one.role is Role.PRIMARY and one.arm == arm)
    drawn = next((one for one in results.randomisation if one.arm == arm and one.decides), None)
    refusal = _mismatch(results) or _nobody(results) or _too_little(line, drawn) or _too_early(results, line)
    refusal = refusal or _too_few_salts(results, drawn)
    if refusal is not None:
        return ArmVerdict(arm, Says.CANNOT_TELL, refusal[0], refusal[1])
    by = _decided_by(results, drawn)
    p_value = line.adjusted_p_value if drawn is None else drawn.adjusted_p_value
    told = _figures(results, line, drawn) + Text(*(f"({_TESTS[by].told(each)})" for each in ("ru", "en")))
    if p_value >= results.alpha:
        return ArmVerdict(arm, Says.NO_DIFFERENCE, *_no_difference(results, line, told), by)
    change = line.absolute.value if drawn is None else drawn.difference
    is_better = (change > 0) == line.higher_is_better
    says = Says.BETTER if is_better else Says.WORSE
    word = Text("лучше", "better") if is_better else Text("хуже", "worse")
    control, p = results.arms[0].name, p_value_text(p_value)
    why = Text(
        f"Вариант «{arm}» {word.ru}, чем «{control}»: {p.ru}, {told.ru}.",
        f"“{arm}” is {word.en} than “{control}”: {p.en}, {told.en}.",
    )
    return ArmVerdict(arm, says, why + _stopped_early(results) + _breaches(results, arm), NOTHING, by)


def _decided_by(results: Results, drawn: Randomisation | None) -> str:
    if drawn is not None:
        return RANDOMISATION
    if results.method == FIXED and results.is_over:
        return FIXED
    return GROUP_SEQUENTIAL if results.method == GROUP_SEQUENTIAL and results.look else ALWAYS_VALID


def _figures(results: Results, line: Comparison, drawn: Randomisation | None) -> Text:
    """The figures of the test that decides."""
    if drawn is None:
        return figures_text(line, results.alpha)
    told = []
    for language, absolute, interval in (
        ("ru", "разница", "рандомизационный интервал"),
        ("en", "absolute", "randomisation interval"),
    ):
        control, treatment = (value_text(line, value, language) for value in (line.control, line.treatment))
        change, low, high = (
            value_text(line, value, language, is_signed=True)
            for value in (drawn.difference, drawn.low, drawn.high)
        )
        level = f"{100 * (1 - results.alpha):g} %".replace(".", "," if language == "ru" else ".")
        told.append(
            f"{line.metric} {control} → {treatment}, {absolute} {change}, {level} {interval} {low} … {high}"
        )
    return Text(*told)


def _is_stopped(results: Results) -> bool:
    return results.status in ("stopped", "decided")


def _stopped_early(results: Results) -> Text:
    """That the plan was not fulfilled, for who reads a verdict."""
    is_planned = results.method in (FIXED, GROUP_SEQUENTIAL)
    if not is_planned or results.is_over or results.look:
        return NOTHING
    return Text(
        "Эксперимент остановлен до срока, поэтому его оценивает более строгий тест.",
        "It was stopped before its plan was fulfilled, so the stricter test judges it.",
    )


def _too_few_salts(results: Results, drawn: Randomisation | None) -> tuple[Text, Text] | None:
    """No p of so few draws could be small enough."""
    if drawn is None or (len(results.arms) - 1) / (drawn.n_salts + 1) < results.alpha:
        return None
    return (
        Text(
            "Сказать нельзя: допустимых солей слишком мало для рандомизационного теста.",
            "Cannot tell: there are too few admissible salts for the randomisation test.",
        ),
        Text("Выбирайте соль из большего числа (n_salts).", "Choose the salt from more (n_salts)."),
    )


def _mismatch(results: Results) -> tuple[Text, Text] | None:
    ratio = results.sample_ratio
    if not ratio.is_mismatch:
        return None
    is_assigned = ASSIGNED in ratio.failed
    counts = ratio.n_units if is_assigned else ratio.n_triggered
    total = sum(counts)
    whose = (
        Text("в эксперимент вошло единиц", "units assigned")
        if is_assigned
        else Text("разные списки увидело бы единиц", "units whose lists differ")
    )
    told = [
        ", ".join(
            f"{arm.name} {number_text(n, 0, language)} / {number_text(planned, 0, language)}"
            for arm, n, planned in zip(
                results.arms, counts, (arm.weight * total for arm in results.arms), strict=True
            )
        )
        for language in ("ru", "en")
    ]
    return (
        Text(
            f"Сказать нельзя: клиенты разделились не так, как задано ({whose.ru}, есть / ожидалось:"
            f" {told[0]}).",
            f"Cannot tell: clients did not split as planned ({whose.en}, found / expected: {told[1]}).",
        ),
        Text(
            "Найдите, где один из вариантов теряет или получает лишних клиентов, и начните заново.",
            "Find where one of the arms loses or gains clients, and begin anew.",
        ),
    )


def _nobody(results: Results) -> tuple[Text, Text] | None:
    """Why no client can be compared, if none can."""
    counts = [arm.counts for arm in results.arms]
    if any(one.n_analysed for one in counts):
        return None
    n_clients, n_open = sum(one.n_clients for one in counts), sum(one.n_open for one in counts)
    if n_open:
        return (
            Text(
                f"Сказать нельзя: окно в {days_text(results.window_days, is_english=False)} не закрылось"
                f" ни у одного из {number_text(n_open, 0, 'ru')} клиентов.",
                f"Cannot tell: the window of {days_text(results.window_days, is_english=True)} is not over"
                f" for any of the {n_open:,} clients.",
            ),
            CAUSES[Cause.NO_UNITS.value][1],
        )
    if n_clients:
        return (
            Text(
                "Сказать нельзя: варианты показали бы одно и то же каждому из"
                f" {number_text(n_clients, 0, 'ru')} клиентов.",
                f"Cannot tell: the arms would have shown the same to each of the {n_clients:,} clients.",
            ),
            Text("Проверьте, чем отличаются варианты.", "Check in what the arms differ."),
        )
    return (
        Text(
            "Сказать нельзя: в эксперимент ещё никто не попал.",
            "Cannot tell: nobody is in the experiment yet.",
        ),
        Text("Проверьте охват, условия и места показа.", "Check its coverage, targeting and placements."),
    )


def _too_little(line: Comparison, drawn: Randomisation | None) -> tuple[Text, Text] | None:
    """Why normal theory cannot tell; where only clients or events are few, an exact test still can."""
    if line.cause is None or (drawn is not None and line.cause in _OF_FEW):
        return None
    why, cure = CAUSES[line.cause]
    return Text(f"Сказать нельзя: {why.ru}.", f"Cannot tell: {why.en}."), cure


def _too_early(results: Results, line: Comparison) -> tuple[Text, Text] | None:
    is_due = {FIXED: results.is_over, GROUP_SEQUENTIAL: results.look > 0}.get(results.method, True)
    n_open = sum(arm.counts.n_open for arm in results.arms)
    if is_due or (_is_stopped(results) and not n_open):
        return None
    told = figures_text(line, results.alpha)
    if _is_stopped(results):
        return (
            Text(
                f"Сказать ещё нельзя: эксперимент остановлен до срока, и не все окна закрылись."
                f" Пока {told.ru}.",
                f"Cannot tell yet: it was stopped before its plan was fulfilled, and windows are still open."
                f" So far {told.en}.",
            ),
            Text(
                f"Подождите, пока закроются окна клиентов: {number_text(n_open, 0, 'ru')}.",
                f"Wait until the windows of {n_open:,} clients are over.",
            ),
        )
    planned = Text("", "")
    if results.planned_units is not None:
        done, all_of = results.n_units, results.planned_units
        planned = Text(
            *(
                f": {number_text(done, 0, language)} / {number_text(all_of, 0, language)}"
                for language in ("ru", "en")
            )
        )
    return (
        Text(
            f"Сказать ещё нельзя: до запланированного взгляда результат не оценивают. Пока {told.ru}.",
            f"Cannot tell yet: before its planned look it is not judged. So far {told.en}.",
        ),
        Text(
            f"Дождитесь запланированного числа единиц или срока{planned.ru}.",
            f"Wait for the planned number of units, or the planned end{planned.en}.",
        ),
    )


def _no_difference(results: Results, line: Comparison, told: Text) -> tuple[Text, Text]:
    why = Text(f"Разница не найдена: {told.ru}.", f"No difference found: {told.en}.")
    why += _stopped_early(results)
    if line.cause is not None:
        cause, cure = CAUSES[line.cause]
        return why + Text(f"Но исключить её нельзя: {cause.ru}.", f"But none is ruled out: {cause.en}."), cure
    least = results.minimum_effect
    percent = Text(percent_text(least, "ru"), percent_text(least, "en"))
    if line.relative.cause is None and max(-line.relative.low, line.relative.high) < least:
        return why + Text(
            f"Разница в {percent.ru} и больше исключена.",
            f"A difference of {percent.en} or more is ruled out.",
        ), NOTHING
    if math.isnan(line.needed):
        return why, NOTHING
    times = max(line.needed, 1.0)
    n_units = math.ceil(times * line.n_units)
    return why, Text(
        f"Чтобы найти разницу в {percent.ru} в четырёх случаях из пяти, нужно примерно"
        f" {number_text(n_units, 0, 'ru')} единиц (сейчас {number_text(line.n_units, 0, 'ru')}).",
        f"To find a difference of {percent.en} in four cases of five, about {n_units:,} units are needed"
        f" ({line.n_units:,} now).",
    )


def _breaches(results: Results, arm: str) -> Text:
    broken = [one for one in results.guardrails if one.arm == arm and one.holds is False]
    if not broken:
        return NOTHING
    names = ", ".join(one.metric for one in broken)
    return Text(f"Но нарушено ограничение: {names}.", f"But a guardrail is breached: {names}.")


def alarms_of(results: Results) -> tuple[Alarm, ...]:
    """Reasons to stop now; each may be looked at daily."""
    alarms = []
    if results.sample_ratio.is_mismatch and (why := _mismatch(results)):
        alarms.append(Alarm("sample_ratio", "", "", why[0]))
    alarms += [
        Alarm("guardrail", one.arm, one.metric, _breach(one, line))
        for one in results.guardrails
        for line in results.comparisons
        if (line.role, line.metric, line.arm) == (Role.GUARDRAIL, one.metric, one.arm)
        if one.holds is False and one.stops
    ]
    return tuple(alarms)


def _breach(guardrail: GuardrailResult, line: Comparison) -> Text:
    told = []
    for language, relative in (("ru", "относительно"), ("en", "relative")):
        control, treatment = (value_text(line, value, language) for value in (line.control, line.treatment))
        change = f"{control} → {treatment}"
        if guardrail.relative.cause is None:
            ends = interval_text(guardrail.relative, language)
            change += f", {relative} {signed_percent_text(guardrail.relative.value, language)} ({ends})"
        told.append(change)
    margin = [percent_text(guardrail.margin, language) for language in ("ru", "en")]
    return Text(
        f"Ограничение «{guardrail.metric}» нарушено в варианте «{guardrail.arm}»: {told[0]},"
        f" допускается {margin[0]} вреда.",
        f"Guardrail “{guardrail.metric}” is breached in “{guardrail.arm}”: {told[1]},"
        f" harm of {margin[1]} is tolerated.",
    )

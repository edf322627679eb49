"""What an off-policy evaluation says to people, in Russian and English."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from recsys.domain import Language
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.offpolicy import Gate, Judgement, Promotion
from training.pipelines.offpolicy.result import MARGIN, OffPolicyResult

_EN: Mapping[str, str] = MappingProxyType(
    {
        "title": "What would the new policy have earned?",
        "estimand": "Value per decision over the logged contexts: clients and moments stay as they were"
        " logged, only the lists are others. It is not the long run, where a policy changes what"
        " clients have, have seen and are tired of.",
        "says": "The log says something of this policy",
        "silent": "This log says nothing about this policy",
        "no_weight": "it never showed a list that the new policy would show",
        "no_support": "too much of what the new policy would show the log could not have shown",
        "few_effective": "too few of its decisions are like those of the new policy",
        "few_clients": "too few clients carry the weight",
        "weights_off": "the mean weight is not 1, so some of what the new policy would show is missing in the"
        " log or a logged probability is wrong",
        "few_rewarded": "too few outcomes followed what both policies would show",
        "at_slot": "slot {slots}",
        "at_slots": "slots {slots}",
        "worst_slot": "Worst slot",
        "unknown_law": "how likely the log was to show an offer at a slot, whatever stood above, is"
        " not known:"
        " its probabilities are not those of its priorities",
        "allowed": "Promotion: nothing speaks against it",
        "warned": "Promotion: warning, it may lose more than the tolerated {tolerated} per decision",
        "blocked": "Promotion: blocked, it earns less than what is live",
        "unknown": "Promotion: the log cannot tell",
        "overridden": "Overridden by {author}: {reason}",
        "against": "New − live",
        "live": "Live (the policies of the log)",
        "live_short": "live",
        "new": "New",
        "activations": "Activations per decision",
        "margin": "Margin per decision, {currency}",
        "interval": "95\N{NO-BREAK SPACE}% interval",
        "estimator": "Estimator",
        "value": "Value",
        "what": "Figure",
        "belief": "Belief",
        "cascade": "Cascade: an outcome depends on its offer and on what stands above",
        "independent": "Independent: an outcome depends on its offer and place alone",
        "headline": "The answer rests on {estimator} under the belief “{belief}”: the weakest belief that the"
        " log carries.",
        "no_headline": "No estimate below has a gate behind it; do not quote them.",
        "gate": "Is there support?",
        "ess": "Effective decisions",
        "ess_clients": "Effective clients",
        "support": "Share of the new policy's choices that the log can show",
        "mean_weight": "Mean weight (1 is right)",
        "max_weight": "Greatest weight",
        "top_share": "Weight on the heaviest hundredth",
        "passes": "says something",
        "fails": "says nothing",
        "decisions": "Decisions that counted",
        "clients": "Clients",
        "left_out": "Left out",
        "other_placement": "another placement",
        "degraded": "fallback lists",
        "held_out": "clients of the hold-out",
        "empty": "empty lists",
        "before_bundle": "before the models were fitted: they know what followed",
        "open_window": "outcome not yet known",
        "plots": "Plots",
        "plot_difference": "New and live",
        "plot_difference_about": "Dot: estimate; line: 95\N{NO-BREAK SPACE}% interval over clients.",
        "plot_estimators": "Every estimator",
        "plot_estimators_about": "Those of a belief without support stand in grey. The direct"
        " method is the model alone:"
        " its interval knows nothing of the model's error.",
        "plot_ess": "Effective decisions by slot",
        "plot_ess_about": "How many decisions the log is worth for the new policy; below the line"
        " it says nothing.",
        "plot_weights": "Where the weight lies",
        "plot_weights_about": "Share of all weight by the size of the weights: a few great weights"
        " carry little"
        " knowledge.",
        "slot": "slot",
        "weight": "weight",
        "share": "share of all weight",
        "policies": "Policies of the log",
        "policy": "Policy",
        "without_chance": "Lists without chance",
        "origin": "Origin",
        "data": "Data",
        "models": "Models",
        "placements": "Placements",
        "period": "Decisions from – to",
        "outcome": "Outcome",
        "outcome_about": "activation, attributed by decision; days in which it counts: {days};"
        " months of margin: {months}",
        "expected": "For the arm of an experiment that tries this policy, in minor units"
        " (also in expected.yaml):",
    }
)
_RU: Mapping[str, str] = MappingProxyType(
    {
        "title": "Сколько заработала бы новая политика?",
        "estimand": "Ценность на одно решение в записанных ситуациях: клиенты и моменты остаются такими,"
        " какими они записаны, другими становятся только списки. Это не долгий срок, где политика"
        " меняет то, что у клиентов есть, что они видели и от чего устали.",
        "says": "Журнал говорит об этой политике",
        "silent": "Этот журнал ничего не говорит об этой политике",
        "no_weight": "он ни разу не показал список, который показала бы новая политика",
        "no_support": "слишком многое из того, что показала бы новая политика, журнал показать не мог",
        "few_effective": "слишком мало его решений похожи на решения новой политики",
        "few_clients": "вес держится на слишком немногих клиентах",
        "weights_off": "средний вес не равен 1: части того, что показала бы новая политика, в"
        " журнале нет, или"
        " записанная вероятность неверна",
        "few_rewarded": "за тем, что показали бы обе политики, последовало слишком мало подключений",
        "at_slot": "место {slots}",
        "at_slots": "места {slots}",
        "worst_slot": "Худшее место",
        "unknown_law": "неизвестно, с какой вероятностью журнал показывал предложение на месте независимо от"
        " мест выше: его вероятности не следуют из его приоритетов",
        "allowed": "Ввод в действие: возражений нет",
        "warned": "Ввод в действие: предупреждение, потери могут превысить допустимые {tolerated} на решение",
        "blocked": "Ввод в действие: запрещён, новая политика зарабатывает меньше действующей",
        "unknown": "Ввод в действие: по журналу судить нельзя",
        "overridden": "Решение отменено: {author}, причина: {reason}",
        "against": "Новая − действующая",
        "live": "Действующая (политики журнала)",
        "live_short": "действующая",
        "new": "Новая",
        "activations": "Подключений на решение",
        "margin": "Маржа на решение, {currency}",
        "interval": "95\N{NO-BREAK SPACE}% интервал",
        "estimator": "Оценка",
        "value": "Значение",
        "what": "Показатель",
        "belief": "Допущение",
        "cascade": "Каскад: исход зависит от предложения и от того, что стоит выше",
        "independent": "Независимость: исход зависит только от предложения и места",
        "headline": "Ответ опирается на оценку {estimator} при допущении «{belief}»: это самое слабое"
        " допущение, для которого хватает журнала.",
        "no_headline": "Ни одна оценка ниже не обеспечена журналом; не ссылайтесь на них.",
        "gate": "Хватает ли журнала?",
        "ess": "Эффективное число решений",
        "ess_clients": "Эффективное число клиентов",
        "support": "Доля выборов новой политики, которые журнал мог показать",
        "mean_weight": "Средний вес (верно: 1)",
        "max_weight": "Наибольший вес",
        "top_share": "Вес самой тяжёлой сотой части",
        "passes": "говорит",
        "fails": "ничего не говорит",
        "decisions": "Учтено решений",
        "clients": "Клиентов",
        "left_out": "Не учтено",
        "other_placement": "другое место показа",
        "degraded": "запасные списки",
        "held_out": "клиенты контрольной группы",
        "empty": "пустые списки",
        "before_bundle": "до обучения моделей: они знают, что было дальше",
        "open_window": "исход ещё не известен",
        "plots": "Графики",
        "plot_difference": "Новая и действующая",
        "plot_difference_about": "Точка: оценка; линия: 95\N{NO-BREAK SPACE}% интервал по клиентам.",
        "plot_estimators": "Все оценки",
        "plot_estimators_about": "Оценки без опоры в журнале показаны серым. Прямой метод – это"
        " одна модель: его интервал"
        " не знает об ошибке модели.",
        "plot_ess": "Эффективное число решений по местам",
        "plot_ess_about": "Скольких решений стоит журнал для новой политики; ниже линии он ничего"
        " не говорит.",
        "plot_weights": "Где лежит вес",
        "plot_weights_about": "Доля всего веса по величине весов: немногие большие весы несут мало знания.",
        "slot": "место",
        "weight": "вес",
        "share": "доля всего веса",
        "policies": "Политики журнала",
        "policy": "Политика",
        "without_chance": "Списки без случайности",
        "origin": "Происхождение",
        "data": "Данные",
        "models": "Модели",
        "placements": "Места показа",
        "period": "Решения с – по",
        "outcome": "Исход",
        "outcome_about": "подключение, отнесённое к решению; срок в днях: {days}; месяцев маржи: {months}",
        "expected": "Для варианта эксперимента с этой политикой, в минимальных единицах валюты"
        " (также в expected.yaml):",
    }
)
WORDS: Mapping[Language, Mapping[str, str]] = MappingProxyType({Language.EN: _EN, Language.RU: _RU})


def verdict_lines(result: OffPolicyResult, language: Language) -> list[str]:
    """The answer in a few sentences."""
    words = WORDS[language]
    if not result.says:
        why = [
            f"{words[belief].split(':')[0]}: {causes_told(found.gate, language)}."
            for belief, found in result.beliefs.items()
        ]
        return [f"{words['silent']}.", *why, f"{_promotion(result.judgement, result, language)}."]
    main, measure = result.main, result.measure
    if main.new is None or main.difference is None:
        raise ValueError("a result that says something has figures")
    figures = (
        f"{measure_title(result, measure, language)}: {amount(main.new.value, measure, language)}"
        f" ({words['new'].lower()}), {amount(main.live.value, measure, language)} ({words['live_short']});"
        f" {words['against'].lower()}"
        f" {amount(main.difference.value, measure, language, is_signed=True)},"
        f" {words['interval']} {ends(main.difference, measure, language, is_signed=True)}."
    )
    headline = words["headline"].format(
        estimator=result.estimator, belief=words[result.belief or ""].split(":")[0]
    )
    return [figures, f"{_promotion(result.judgement, result, language)}.", headline]


def causes_told(gate: Gate, language: Language) -> str:
    """What speaks against listening, each cause with the slots in which it lies."""
    words, told = WORDS[language], []
    for cause in gate.causes:
        slots = gate.slots.get(cause, ())
        where = words["at_slot" if len(slots) == 1 else "at_slots"].format(slots=", ".join(map(str, slots)))
        told.append(f"{words[cause]} ({where})" if slots else words[cause])
    return "; ".join(told)


def _promotion(judgement: Judgement, result: OffPolicyResult, language: Language) -> str:
    words = WORDS[language]
    said = words[judgement.promotion.value]
    if judgement.promotion is Promotion.WARNED:
        said = said.format(tolerated=amount(judgement.tolerated, result.measure, language))
    if judgement.overridden_by:
        by = words["overridden"].format(author=judgement.overridden_by, reason=judgement.reason)
        return f"{said}. {by}"
    return said


def measure_title(result: OffPolicyResult, measure: str, language: Language) -> str:
    """A measure's name with its unit."""
    currency = result.subject.currency
    title = WORDS[language][measure].format(currency=currency)
    return title.removesuffix(", XXX")


def amount(value: float, measure: str, language: Language, *, is_signed: bool = False) -> str:
    """A figure per decision: money in whole units with two decimals, activations in four.

    Example:
        >>> amount(12345.0, "margin", Language.EN)
        '123.45'
        >>> amount(-0.01234, "activations", Language.RU, is_signed=True)
        '−0,0123'
    """
    if not math.isfinite(value):
        return "–"
    sign = "+" if is_signed else ""
    if measure == MARGIN:
        return number(value / 100, f"{sign},.2f", language)
    return number(value, f"{sign}.4f", language)


def ends(estimate: Estimate, measure: str, language: Language, *, is_signed: bool = False) -> str:
    """The ends of an interval."""
    low, high = (amount(end, measure, language, is_signed=is_signed) for end in (estimate.low, estimate.high))
    return f"{low} … {high}"


def number(value: float, spec: str, language: Language) -> str:
    r"""A number by a format, as the language writes it.

    Example:
        >>> number(-1234.5, ",.1f", Language.EN), number(-1234.5, ",.1f", Language.RU)
        ('−1,234.5', '−1\xa0234,5')
    """
    written = f"{value:{spec}}".replace("-", "\N{MINUS SIGN}").replace("%", "\N{NO-BREAK SPACE}%")
    if language is Language.RU:
        written = written.replace(",", "\N{NO-BREAK SPACE}").replace(".", ",")
    return written

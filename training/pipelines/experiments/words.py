"""What the report of an experiment says around its figures, in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from recsys.decision.conditions.vocabulary import FIELDS
from recsys.experiments.results import Says, Text

SAYS: Mapping[Says, Text] = MappingProxyType(
    {
        Says.BETTER: Text("лучше", "better"),
        Says.WORSE: Text("хуже", "worse"),
        Says.NO_DIFFERENCE: Text("разница не найдена", "no difference found"),
        Says.CANNOT_TELL: Text("сказать нельзя", "cannot tell"),
    }
)

_SEGMENTS: Mapping[str, Text] = MappingProxyType(
    {
        "unknown": Text("неизвестно", "unknown"),
        "low": Text("нижняя треть", "lowest third"),
        "middle": Text("средняя треть", "middle third"),
        "high": Text("верхняя треть", "highest third"),
    }
)

WORDS: Mapping[str, Text] = MappingProxyType(
    {
        "experiment": Text("Эксперимент", "Experiment"),
        "hypothesis": Text("Гипотеза", "Hypothesis"),
        "status": Text("Состояние", "Status"),
        "draft": Text("черновик", "draft"),
        "running": Text("идёт", "running"),
        "stopped": Text("остановлен", "stopped"),
        "decided": Text("решён", "decided"),
        "started": Text("начат", "started"),
        "as_of": Text("данные на", "data as of"),
        "window": Text("окно, дней", "window, days"),
        "alarms": Text("Остановите эксперимент", "Stop the experiment"),
        "needed": Text("Что нужно", "What is needed"),
        "metrics": Text("Показатели", "Metrics"),
        "metric": Text("Показатель", "Metric"),
        "arm": Text("Вариант", "Arm"),
        "conclusion": Text("Вывод", "Conclusion"),
        "control": Text("Контроль", "Control"),
        "treatment": Text("Вариант", "Arm"),
        "absolute": Text("Абсолютная разница", "Absolute difference"),
        "relative": Text("Относительная разница", "Relative difference"),
        "interval": Text("интервал", "interval"),
        "p": Text("p", "p"),
        "adjusted_p": Text("p с поправкой", "Adjusted p"),
        "primary": Text("главный", "primary"),
        "secondary": Text("дополнительный", "secondary"),
        "guardrail": Text("ограничение", "guardrail"),
        "reduction": Text("дисперсии снято прошлым", "variance taken away by the past"),
        "threshold": Text("значения выше считаются как", "values above count as"),
        "unknown": Text("ещё не известно", "not known yet"),
        "guardrails": Text("Ограничения", "Guardrails"),
        "margin": Text("Допустимый вред", "Harm tolerated"),
        "holds": Text("соблюдается", "holds"),
        "breached": Text("нарушено", "breached"),
        "open": Text("пока не ясно", "not clear yet"),
        "over_time": Text("По дням", "Over time"),
        "effect_over_time": Text("Разница по дням", "Difference over time"),
        "effect_caption": Text(
            "Полоса: интервал, в который можно смотреть каждый день. Ноль внутри – разница не показана.",
            "Band: an interval that may be looked at daily. With zero inside, no difference is shown.",
        ),
        "ratio_over_time": Text("Доли вариантов по дням", "Sample ratio over time"),
        "ratio_caption": Text(
            "Пунктир: как задано. Ежедневный тест соотношения: p = {p}.",
            "Dashed: as planned. Daily test of the ratio: p = {p}.",
        ),
        "day": Text("дней от начала", "days since the start"),
        "difference": Text("разница", "difference"),
        "share": Text("доля", "share"),
        "decisions": Text("Оценка по журналу и измерение", "Estimated from the log, and measured"),
        "decisions_caption": Text(
            "Маржа на одно решение: оценка до эксперимента рядом с тем, что вышло. Измерено: подключения с"
            " номером решения за окно эксперимента, маржа за 12 месяцев, без запасных и пустых списков."
            " «Сходится» сказано только там, где дни и месяцы те же и данных достаточно.",
            "Margin per decision: the estimate before the experiment beside what came out. Measured:"
            " activations that name the decision, within the experiment's window, margin of 12 months,"
            " without fallback and empty lists. “Agrees” is said only where days and months are the same and"
            " the data are enough.",
        ),
        "expected": Text("по журналу", "from the log"),
        "measured": Text("измерено", "measured"),
        "n_decisions": Text("Решений", "Decisions"),
        "agrees": Text("Сходится", "Agrees"),
        "yes": Text("да", "yes"),
        "no": Text("нет", "no"),
        "of_days": Text("{days} дн., {months} мес.", "{days} days, {months} months"),
        "per_decision": Text("маржа на решение", "margin per decision"),
        "segments": Text("Сегменты", "Segments"),
        "segments_about": Text(
            "Точка и линия: чему верить – разница, притянутая к общей тем сильнее, чем больше в ней случая"
            " (если сегментов хотя бы четыре). Кружок: измеренное в самом сегменте. В скобках: клиентов.",
            "Dot and line: what to believe – the difference, drawn to the common one by as much as chance"
            " explains (from four segments on). Ring: as measured in the segment. In brackets: clients.",
        ),
        "size": Text("Размер", "Size"),
        "stage": Text("Стадия", "Stage"),
        "industry": Text("Отрасль", "Industry"),
        "spend": Text("Расходы на связь", "Spend"),
        "overlaps": Text("Другие эксперименты в то же время", "Other experiments at the same time"),
        "overlap_about": Text(
            "Насколько разница зависит от варианта другого эксперимента.",
            "By how much the difference depends on the arm of the other experiment.",
        ),
        "interaction_found": Text("влияют друг на друга", "they interact"),
        "interaction_none": Text("влияние не найдено", "no interaction found"),
        "who": Text("Кто участвует", "Who takes part"),
        "weight": Text("Задано", "Planned"),
        "units": Text("Единиц", "Units"),
        "clients": Text("Клиентов", "Clients"),
        "triggered": Text("Увидели бы разное", "Would see a difference"),
        "open_windows": Text("Окно открыто", "Window open"),
        "analysed": Text("В анализе", "Analysed"),
        "left_out": Text(
            "Не в анализе: назначенных вручную {forced}, из контрольной группы всей системы {held_out}.",
            "Not analysed: put into an arm by hand {forced}, held out from everything {held_out}.",
        ),
        "earlier": Text(
            "Не в анализе: распределённых до нынешней доли контрольной группы {n}; их доля была другой.",
            "Not analysed: drawn before the hold-out's present share {n}; theirs was another.",
        ),
        "randomisation": Text("Рандомизационный тест", "Randomisation test"),
        "randomisation_about": Text(
            "Вариант «{arm}»: p = {p} среди {n} допустимых солей.",
            "“{arm}”: p = {p} among {n} admissible salts.",
        ),
        "meaning": Text("Как это читать", "How to read this"),
        "meaning_trigger": Text(
            "Считаются клиенты, которым варианты показали бы разное, с этого дня и в течение окна, что бы они"
            " потом ни видели. Подключения считаются по любому каналу. Клиенты с открытым окном не в счёт."
            " Окно, что кончилось позже последнего загруженного подключения, – «ещё не известно», а не ноль.",
            "Counted are clients to whom the arms would show different lists, from that day on and for the"
            " window, whatever they saw afterwards. Connections count by any channel. Clients whose window"
            " is open are left out. A window that ended after the newest sale that is loaded is “not known"
            " yet”, not zero.",
        ),
        "meaning_interval": Text(
            "Интервал – значения, с которыми данные совместимы; ошибки считаются по единицам назначения.",
            "The interval holds what the data are compatible with; errors are by unit of assignment.",
        ),
        "meaning_p": Text(
            "Поправка Холма: главный показатель – по вариантам, остальные – по показателям и вариантам.",
            "Holm's correction: the primary metric over arms, the others over metrics and arms together.",
        ),
        "meaning_guardrail": Text(
            "У ограничения свой интервал: он отвечает, хуже ли вариант больше, чем на допустимый вред, и"
            " бывает уже или шире, чем в таблице показателей. Маржа – в валюте данных, за {months} месяцев"
            " того, что подключено; повторное подключение того, что уже есть, не в счёт.",
            "A guardrail has an interval of its own: it answers whether the arm is worse by more than the"
            " harm tolerated, and may be narrower or wider than in the table of metrics. Margin is in the"
            " data's currency, of {months} months of what was connected; connecting again what one has does"
            " not count.",
        ),
        "origin": Text("Происхождение", "Origin"),
        "data": Text("Данные", "Data"),
        "method": Text("Метод", "Method"),
        "fixed": Text("один взгляд в конце", "one look at the end"),
        "sequential": Text("можно смотреть каждый день", "may be looked at daily"),
        "group_sequential": Text("запланированные взгляды", "planned looks"),
    }
)


def word(key: str, language: str) -> str:
    """A word of the report."""
    return WORDS[key].told(language)


def segment_name(dimension: str, segment: str, language: str) -> str:
    """What a segment is called.

    Example:
        >>> segment_name("size", "micro", "ru"), segment_name("region", "north", "ru")
        ('микро', 'north')
    """
    if segment in _SEGMENTS:
        return _SEGMENTS[segment].told(language)
    fact = FIELDS.get(dimension)
    labels = None if fact is None or fact.labels is None else fact.labels.get(segment)
    return segment if labels is None else Text(*labels).told(language)


def count(n: int, language: str) -> str:
    """A number of things.

    Example:
        >>> count(12000, "en")
        '12,000'
    """
    return f"{n:,}".replace("-", "\N{MINUS SIGN}").replace(
        ",", "\N{NO-BREAK SPACE}" if language == "ru" else ","
    )

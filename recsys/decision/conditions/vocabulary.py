"""What a condition can speak of: every fact with its kind, unit, bounds and names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType

from recsys.config import nearest_name
from recsys.domain import EventType, Language, LegalForm, Size, Stage

Value = bool | int | float | str | date
Labels = Mapping[str, tuple[str, str]]

UNKNOWN = "unknown"
TAG_PREFIX = "tag."
MAX_EVENT_DAYS = 90
"""Events are counted for so many days."""
_LARGEST = 2.0**53
"""Far above any figure of a company; beyond it a float is no longer told from its neighbours."""
_LONGEST_VALUE = 80


class Kind(StrEnum):
    """Type of a fact's values."""

    FLAG = "true or false"
    WHOLE = "whole number"
    NUMBER = "number"
    CHOICE = "one of a list"
    TEXT = "text"
    DAY = "day"

    @property
    def is_ordered(self) -> bool:
        """Whether values can be more or less than others."""
        return self in (Kind.WHOLE, Kind.NUMBER, Kind.DAY)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that can be compared.

    Attributes:
        kind: Type of its values.
        ru: Name in a Russian sentence; of a flag, the sentence when it is true and when it is false.
        en: The same in English.
        unit: What a number counts.
        high: Largest number that makes sense.
        low: Least number that makes sense.
        labels: Words for values, Russian and English; a choice has exactly these values.
    """

    kind: Kind
    ru: tuple[str, ...]
    en: tuple[str, ...]
    unit: str = ""
    high: float = _LARGEST
    low: float = 0.0
    labels: Labels = field(default_factory=dict)

    def read(self, value: object, name: str) -> Value:
        """A value that the fact called `name` can be compared with.

        Raises:
            ValueError: The value is of another type or out of bounds; the text says the cure.

        Example:
            >>> FIELDS["size"].read("smal", "size")
            Traceback (most recent call last):
            ...
            ValueError: size is micro, small, medium or large, not 'smal'; did you mean 'small'?
            >>> FIELDS["overage_share"].read(30, "overage_share")
            Traceback (most recent call last):
            ...
            ValueError: overage_share is a number from 0 to 1, not 30; correct the value
        """
        if value == UNKNOWN:
            raise ValueError(f"an unknown {name} is no value; write is_missing: true")
        if self.kind is Kind.FLAG:
            if isinstance(value, bool):
                return value
            raise ValueError(f"{name} is true or false, not {value!r}; write one of the two")
        if self.kind is Kind.DAY:
            return _read_day(value, name)
        if self.kind.is_ordered:
            return self._read_number(value, name)
        if self.kind is Kind.CHOICE:
            return self._read_choice(value, name)
        if isinstance(value, str) and value:
            return value
        raise ValueError(f"{name} is a text, not {value!r}; write it in quotes")

    def _read_number(self, value: object, name: str) -> int | float:
        is_too_large = False
        if isinstance(value, int | float) and not isinstance(value, bool):
            is_too_large = value > self.high
            # the bounds come first: a whole number may be too large for a float
            if self.low <= value <= self.high and (self.kind is Kind.NUMBER or float(value).is_integer()):
                return int(value) if isinstance(value, int) else float(value)
        bounds = f"from {self.low:g}"
        if is_too_large or self.high < _LARGEST:
            bounds += f" to {self.high:,.16g}"
        written = repr(value)[:_LONGEST_VALUE]
        raise ValueError(f"{name} is a {self.kind} {bounds}, not {written}; correct the value")

    def _read_choice(self, value: object, name: str) -> str:
        if isinstance(value, str) and value in self.labels:
            return str(value)
        *others, last = self.labels
        nearest = nearest_name(str(value), self.labels)
        cure = f"did you mean {nearest!r}?" if nearest else "write one of them"
        raise ValueError(f"{name} is {', '.join(others)} or {last}, not {value!r}; {cure}")


def _read_day(value: object, name: str) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return date(value.year, value.month, value.day)
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{name} is a day, not {value!r}; write it like 2025-12-31") from None


def _whole(ru: str, en: str, unit: str, high: float = _LARGEST) -> Fact:
    return Fact(Kind.WHOLE, (ru,), (en,), unit, high)


def _number(ru: str, en: str, unit: str, high: float = _LARGEST) -> Fact:
    return Fact(Kind.NUMBER, (ru,), (en,), unit, high)


def _text(ru: str, en: str) -> Fact:
    return Fact(Kind.TEXT, (ru,), (en,))


def _choice(ru: str, en: str, labels: Labels) -> Fact:
    return Fact(Kind.CHOICE, (ru,), (en,), labels=MappingProxyType(labels))


_SIZES = {
    Size.MICRO.value: ("микро", "micro"),
    Size.SMALL.value: ("малая", "small"),
    Size.MEDIUM.value: ("средняя", "medium"),
    Size.LARGE.value: ("крупная", "large"),
}
_LEGAL_FORMS = {
    LegalForm.SOLE_TRADER.value: ("ИП", "sole trader"),
    LegalForm.LLC.value: ("ООО", "LLC"),
    LegalForm.JOINT_STOCK.value: ("АО", "joint-stock company"),
    LegalForm.LAWYER.value: ("адвокат", "lawyer"),
    LegalForm.NOTARY.value: ("нотариус", "notary"),
    LegalForm.PUBLIC_BODY.value: ("государственное учреждение", "public body"),
}
_STAGES = {
    Stage.PROSPECT.value: ("потенциальный клиент", "prospect"),
    Stage.CHURNED.value: ("ушедший клиент", "churned"),
    Stage.AT_RISK.value: ("под угрозой ухода", "at risk"),
    Stage.DORMANT.value: ("спящий", "dormant"),
    Stage.ONBOARDING.value: ("новый клиент", "onboarding"),
    Stage.REACTIVATED.value: ("вернувшийся", "reactivated"),
    Stage.GROWTH.value: ("растущий", "growth"),
    Stage.MATURE.value: ("зрелый", "mature"),
    Stage.STEADY.value: ("стабильный", "steady"),
}
_INDUSTRIES = {
    "A": ("сельское хозяйство", "agriculture"),
    "B": ("добыча", "mining"),
    "C": ("производство", "manufacturing"),
    "D": ("энергетика", "energy"),
    "E": ("водоснабжение и отходы", "water and waste"),
    "F": ("строительство", "construction"),
    "G": ("торговля", "trade"),
    "H": ("транспорт и склады", "transport and storage"),
    "I": ("гостиницы и общепит", "hotels and catering"),
    "J": ("ИТ и связь", "IT and communication"),
    "K": ("финансы и страхование", "finance and insurance"),
    "L": ("недвижимость", "real estate"),
    "M": ("консалтинг и инженерия", "consulting and engineering"),
    "N": ("деловые услуги", "business services"),
    "O": ("государственное управление", "public administration"),
    "P": ("образование", "education"),
    "Q": ("медицина и социальные услуги", "health and social care"),
    "R": ("культура и спорт", "culture and sports"),
    "S": ("бытовые услуги", "household services"),
}
_ROLES = {
    "administrator": ("администратор", "administrator"),
    "finance": ("финансист", "finance"),
    "employee": ("сотрудник", "employee"),
}
_LANGUAGES = {Language.RU.value: ("русский", "Russian"), Language.EN.value: ("английский", "English")}
_MONTHS = (
    ("январь", "January"),
    ("февраль", "February"),
    ("март", "March"),
    ("апрель", "April"),
    ("май", "May"),
    ("июнь", "June"),
    ("июль", "July"),
    ("август", "August"),
    ("сентябрь", "September"),
    ("октябрь", "October"),
    ("ноябрь", "November"),
    ("декабрь", "December"),
)
_WEEKDAYS = (
    ("понедельник", "Monday"),
    ("вторник", "Tuesday"),
    ("среда", "Wednesday"),
    ("четверг", "Thursday"),
    ("пятница", "Friday"),
    ("суббота", "Saturday"),
    ("воскресенье", "Sunday"),
)
_ANSWERS = MappingProxyType({"yes": ("да", "yes"), "no": ("нет", "no")})

FIELDS: Mapping[str, Fact] = MappingProxyType(
    {
        "size": _choice("размер компании", "the company size", _SIZES),
        "legal_form": _choice("правовая форма", "the legal form", _LEGAL_FORMS),
        "industry": _choice("отрасль", "the industry", _INDUSTRIES),
        "region": _text("регион", "the region"),
        "stage": _choice("этап жизни клиента", "the lifecycle stage", _STAGES),
        "n_employees": _whole("число сотрудников", "the number of employees", "people"),
        "revenue_minor": _whole("выручка за год", "the yearly revenue", "minor units"),
        "tenure_days": _whole("число дней с начала договора", "the number of days under contract", "days"),
        "is_vip": Fact(
            Kind.FLAG,
            ("у компании есть статус VIP", "у компании нет статуса VIP"),
            ("the company is VIP", "the company is not VIP"),
        ),
        "loyalty_points": _whole("число бонусных баллов", "the number of loyalty points", "points"),
        "is_in_account_group": Fact(
            Kind.FLAG,
            ("компания входит в группу компаний", "компания не входит в группу компаний"),
            ("the company belongs to an account group", "the company belongs to no account group"),
        ),
        "spend_minor": _whole("расходы за последний месяц", "last month's spend", "minor units"),
        "mean_spend_minor_3m": _number(
            "средние расходы за три месяца", "the mean spend of three months", "minor units"
        ),
        "n_sims": _whole("число SIM-карт", "the number of SIMs", "SIMs"),
        "n_sims_employees": _whole(
            "число SIM-карт офисных сотрудников", "the number of SIMs of office staff", "SIMs"
        ),
        "n_sims_field": _whole(
            "число SIM-карт выездных сотрудников", "the number of SIMs of field staff", "SIMs"
        ),
        "n_sims_devices": _whole("число SIM-карт в устройствах", "the number of SIMs in devices", "SIMs"),
        "overage_share": _number(
            "доля расходов сверх тарифа", "the share of spend beyond the tariff", "share", 1.0
        ),
        "roaming_share": _number(
            "доля расходов в роуминге", "the share of spend while roaming", "share", 1.0
        ),
        "m2m_share": _number("доля SIM-карт в устройствах", "the share of SIMs in devices", "share", 1.0),
        "overdue_days": _whole("число дней просрочки", "the number of days overdue", "days"),
        "voice_minutes": _whole("число минут звонков за месяц", "the number of minutes called", "minutes"),
        "data_megabytes": _whole(
            "число мегабайт трафика за месяц", "the number of megabytes used", "megabytes"
        ),
        "n_sms": _whole("число сообщений за месяц", "the number of messages sent", "messages"),
    }
)
"""Every field but the tags, which are ``tag.KEY``."""

CONTEXT: Mapping[str, Fact] = MappingProxyType(
    {
        "placement": _text("место показа", "the placement"),
        "channel": _text("канал", "the channel"),
        "language": _choice("язык", "the language", _LANGUAGES),
        "role": _choice("роль сотрудника", "the role of the member", _ROLES),
        "date": Fact(Kind.DAY, ("дата",), ("the date",)),
        "month": Fact(
            Kind.WHOLE,
            ("месяц",),
            ("the month",),
            "1–12",
            12,
            1,
            MappingProxyType({str(n): names for n, names in enumerate(_MONTHS, 1)}),
        ),
        "weekday": Fact(
            Kind.WHOLE,
            ("день недели",),
            ("the weekday",),
            "1–7, Monday is 1",
            7,
            1,
            MappingProxyType({str(n): names for n, names in enumerate(_WEEKDAYS, 1)}),
        ),
        "hour": _whole("час", "the hour", "0–23", 23),
    }
)

# bounds, because every whole number up to the largest that is asked for has a cell of its own
COUNT = Fact(Kind.WHOLE, (), (), "pieces", 10_000)
DAYS = Fact(Kind.WHOLE, (), (), "days", 20_000)
EVENT_DAYS = Fact(Kind.WHOLE, (), (), "days", MAX_EVENT_DAYS)

_KNOWN_OF_CLIENTS = ("is_vip", "stage", "loyalty_points", "is_in_account_group", "n_held", "n_events")
ALWAYS_KNOWN = frozenset([*_KNOWN_OF_CLIENTS, "date", "month", "weekday", "hour"])
"""Fields, counts and parts of the context that have a value for every client at every moment."""

EVENTS: Mapping[EventType, tuple[tuple[str, str], tuple[str, str]]] = MappingProxyType(
    {
        EventType.IMPRESSION: (("показов", "показа"), ("impressions", "impression")),
        EventType.CLICK: (("переходов", "перехода"), ("clicks", "click")),
        EventType.APPLICATION: (("заявок", "заявки"), ("applications", "application")),
        EventType.ACTIVATION: (("подключений", "подключения"), ("activations", "activation")),
        EventType.DISMISSAL: (("отказов", "отказа"), ("dismissals", "dismissal")),
        EventType.DISCONNECTION: (("отключений", "отключения"), ("disconnections", "disconnection")),
        EventType.COMPLAINT: (("жалоб", "жалобы"), ("complaints", "complaint")),
    }
)
"""Names of events by language: after a number, and after "the last"."""


def field_fact(name: str) -> Fact | None:
    """The fact of a field; None when there is no such field.

    Example:
        >>> field_fact("tag.bank_elsewhere").kind.value, field_fact("colour")
        ('text', None)
    """
    if name.startswith(TAG_PREFIX) and len(name) > len(TAG_PREFIX):
        key = name.removeprefix(TAG_PREFIX)
        return Fact(Kind.TEXT, (f"признак «{key}»",), (f"the tag “{key}”",), labels=_ANSWERS)
    return FIELDS.get(name)

"""The sentences that people read, in Russian and English.

A sentence speaks of services, of kinds of companies and of prices: never of a person and never of another
company. ``{subject}`` is a title or one of the phrases below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from types import MappingProxyType

_REASONS = {
    "upgrade": {
        "ru": "Следующая версия услуги «{subject}», которая у вас уже подключена",
        "en": "The next edition of “{subject}”, which you already have",
    },
    # told before that day and for a while after it
    "renew": {"ru": "Срок услуги — до {subject}", "en": "The term of the service is until {subject}"},
    "expand": {
        "ru": "Подходит вашей растущей компании",
        "en": "Fits your growing company",
    },
    "retain": {
        "ru": "Условия, чтобы остаться с нами",
        "en": "Conditions for staying with us",
    },
    "works_with": {
        "ru": "Работает вместе с услугой «{subject}», которая у вас уже подключена",
        "en": "Works together with “{subject}”, which you already have",
    },
    "taken_with": {
        "ru": "Часто подключают вместе с услугой «{subject}», которая у вас уже есть",
        "en": "Often taken together with “{subject}”, which you already have",
    },
    "bought_with": {
        "ru": "Часто покупают вместе с товаром «{subject}», который вы уже покупали",
        "en": "Often bought together with “{subject}”, which you have bought before",
    },
    "cohort": {
        "ru": "Чаще, чем в среднем, это выбирают {subject}",
        "en": "Chosen more often than average by {subject}",
    },
    "region": {
        "ru": "Чаще, чем в среднем, это выбирают в вашем регионе",
        "en": "Chosen more often than average in your region",
    },
    "popular": {
        "ru": "Популярно среди бизнес-клиентов",
        "en": "Popular with business clients",
    },
    "chosen": {"ru": "Это уже выбрали другие бизнес-клиенты", "en": "Other business clients have chosen it"},
    "need_open": {
        "ru": "У нас вы для этой задачи пока ничего не выбрали",
        "en": "You have nothing from us for this need yet",
    },
    "price_free": {
        "ru": "Бесплатно",
        "en": "Free of charge",
    },
    "price_region": {
        "ru": "Цена для вашего региона",
        "en": "Priced for your region",
    },
    "price_size": {
        "ru": "Цена для компаний вашего размера",
        "en": "Priced for companies of your size",
    },
    "price_usage": {
        "ru": "Оплата только за использование",
        "en": "You pay only for what you use",
    },
    "price_once": {
        "ru": "Разовый платёж без абонентской платы",
        "en": "One payment, no monthly fee",
    },
    "price_month": {
        "ru": "Оплата помесячно",
        "en": "Paid month by month",
    },
}

# Stages that would embarrass a client (at_risk, dormant, churned) are left out on purpose.
_COHORTS = {
    "industry=A": ("компании сельского хозяйства", "agricultural companies"),
    "industry=B": ("добывающие компании", "mining companies"),
    "industry=C": ("производственные компании", "manufacturers"),
    "industry=D": ("энергетические компании", "energy companies"),
    "industry=E": ("компании водоснабжения и переработки отходов", "water and waste companies"),
    "industry=F": ("строительные компании", "construction companies"),
    "industry=G": ("торговые компании", "trading companies"),
    "industry=H": ("транспортные и складские компании", "transport and storage companies"),
    "industry=I": ("гостиницы, кафе и рестораны", "hotels, cafés and restaurants"),
    "industry=J": ("компании в сфере ИТ и связи", "IT and communication companies"),
    "industry=K": ("финансовые и страховые компании", "finance and insurance companies"),
    "industry=L": ("компании, работающие с недвижимостью", "real estate companies"),
    "industry=M": ("консалтинговые и инженерные компании", "consulting and engineering companies"),
    "industry=N": ("компании, оказывающие деловые услуги", "business service companies"),
    "industry=O": ("государственные учреждения", "public bodies"),
    "industry=P": ("образовательные организации", "educational organisations"),
    "industry=Q": ("медицинские и социальные организации", "health and social care organisations"),
    "industry=R": ("организации культуры и спорта", "culture and sports organisations"),
    "industry=S": ("компании бытовых услуг", "companies that serve households"),
    "size=micro": ("микропредприятия", "micro companies"),
    "size=small": ("малые предприятия", "small companies"),
    "size=medium": ("средние предприятия", "medium-sized companies"),
    "size=large": ("крупные предприятия", "large companies"),
    "stage=prospect": ("компании, которые выбирают оператора", "companies that are choosing an operator"),
    "stage=onboarding": ("новые клиенты", "new clients"),
    "stage=reactivated": ("клиенты, которые к нам вернулись", "clients that came back to us"),
    "stage=growth": ("растущие компании", "growing companies"),
    "stage=mature": ("давние клиенты", "long-standing clients"),
    "stage=steady": ("постоянные клиенты", "regular clients"),
}
_LANGUAGES = ("ru", "en")

_REFUSALS = {
    "stopped": ("Сейчас не подключается", "Not on offer at the moment"),
    "not_yet_live": ("Ещё не подключается", "Not on offer yet"),
    "no_longer_live": ("Больше не подключается", "No longer on offer"),
    "region": ("Нет в вашем регионе", "Not available in your region"),
    "supplier_suspended": (
        "Подключение услуг этого поставщика приостановлено",
        "Offers of this provider are suspended",
    ),
    "volume_cap": ("Все места на этот период уже заняты", "All places for this period are taken"),
    "legal_form": (
        "Не для вашей организационно-правовой формы",
        "Not available for your legal form",
    ),
    "fact_unknown": ("Мы не знаем {subject}", "We do not know {subject}"),
    "already_connected": ("Уже подключено", "You already have it"),
    "exclusive_slot": (
        "Не подключается вместе с услугой «{subject}», которая у вас уже есть",
        "Cannot be combined with “{subject}”, which you already have",
    ),
    "excludes": (
        "Не подключается вместе с услугой «{subject}», которая у вас уже есть",
        "Cannot be combined with “{subject}”, which you already have",
    ),
    "requires": ("Сначала нужна услуга {subject}", "First you need {subject}"),
    "budget_limit": ("Дороже вашего лимита расходов", "Costs more than your spending limit"),
    "not_for_client": (
        "Не подходит вашей компании по условиям услуги",
        "Does not fit your company by the terms of the service",
    ),
    "only_if": ("Только при условии: {subject}", "Only if {subject}"),
    "never_if": ("Не предлагается, если {subject}", "Not offered if {subject}"),
    "complaint_open": (
        "Сначала разберёмся с вашим обращением",
        "First we will settle your complaint",
    ),
    "dismissed_not_now": ("Вы попросили предложить позже", "You asked to be offered it later"),
    "dismissed_irrelevant": ("Вы отметили, что это вам не нужно", "You said it is not for you"),
    "dismissed_have_elsewhere": (
        "Вы отметили, что это у вас есть в другом месте",
        "You said you have it elsewhere",
    ),
    "dismissed_too_expensive": ("Вы отметили, что это дорого", "You said it is too expensive"),
    "contact_cap_impression": ("Недавно показывали достаточно часто", "Shown often enough lately"),
    "contact_cap_click": ("Недавно уже открывали", "Opened already lately"),
    "contact_cap_application": ("Недавно уже подали заявку", "Applied for already lately"),
    "contact_cap_activation": ("Недавно уже подключали", "Taken already lately"),
    "excluded_by_request": ("Исключено в самом запросе", "Left out by the request itself"),
    "placement_kind": (
        "В этом месте такие предложения не показываем",
        "This place does not show such offers",
    ),
    "shown_above": ("Уже показано в другом списке", "Already shown in another list"),
    "no_slot": ("В этом списке нет места для таких предложений", "This list has no slot for such offers"),
    "slot_kind": ("Места для таких предложений заняты", "The places for such offers are taken"),
    "supplier_cap": (
        "От этого поставщика уже показано достаточно",
        "Enough of this provider is shown already",
    ),
    "need_group_cap": ("Для этой задачи уже показано достаточно", "Enough for this need is shown already"),
    "category_cap": ("Из этого раздела уже показано достаточно", "Enough of this category is shown already"),
    "below_least_priority": (
        "Подходит меньше, чем мы готовы советовать",
        "Fits less than we would recommend",
    ),
}

# What a client can tell of itself; in Russian after "мы не знаем" and "сообщите нам".
_TELLABLE = {
    "region": ("ваш регион", "your region"),
    "legal_form": ("вашу правовую форму", "your legal form"),
    "industry": ("вашу отрасль", "your industry"),
    "size": ("размер вашей компании", "the size of your company"),
    "n_employees": ("число ваших сотрудников", "your number of employees"),
    "revenue_minor": ("вашу выручку за год", "your yearly revenue"),
}
_CURES = {
    "tell_fact": ("Сообщите нам {subject}", "Tell us {subject}"),
    "connect_first": ("Сначала подключите «{subject}»", "Connect “{subject}” first"),
    "wait_until": ("Можно будет подключить с {subject}", "Available from {subject}"),
    "offered_again": ("Снова предложим с {subject}", "Will be offered again from {subject}"),
    "raise_limit": (
        "Попросите администратора увеличить ваш лимит расходов",
        "Ask your administrator to raise your spending limit",
    ),
}
_MAX_TITLES = 3
_MONTHS = (
    ("января", "January"),
    ("февраля", "February"),
    ("марта", "March"),
    ("апреля", "April"),
    ("мая", "May"),
    ("июня", "June"),
    ("июля", "July"),
    ("августа", "August"),
    ("сентября", "September"),
    ("октября", "October"),
    ("ноября", "November"),
    ("декабря", "December"),
)

REASONS: Mapping[str, Mapping[str, str]] = MappingProxyType(_REASONS)
REFUSALS = frozenset(_REFUSALS)
"""Codes for which `refusal_text` has a sentence."""
TELLABLE_FACTS = frozenset(_TELLABLE)
"""Fields that a client can tell of itself, for `fact_text`."""


def reason_text(code: str, language: str, subject: str = "") -> str:
    """The sentence of a reason.

    Args:
        code: One of `REASONS`.
        language: ``ru`` or ``en``.
        subject: Title or phrase that the sentence speaks of, where it speaks of one.

    Example:
        >>> reason_text("cohort", "en", cohort_phrase("industry=G", "en"))
        'Chosen more often than average by trading companies'
        >>> reason_text("works_with", "ru", "Облако «Диск»")
        'Работает вместе с услугой «Облако „Диск“», которая у вас уже подключена'
    """
    return _with_subject(_REASONS[code][language], language, subject)


def refusal_text(code: str, language: str, subject: str = "") -> str:
    """The sentence that tells a client why it cannot have an offer.

    Args:
        code: One of `REFUSALS`.
        language: ``ru`` or ``en``.
        subject: Title, list of titles or condition that the sentence speaks of, where it speaks of one.

    Example:
        >>> refusal_text("already_connected", "ru")
        'Уже подключено'
        >>> refusal_text("exclusive_slot", "en", "PBX Start")
        'Cannot be combined with “PBX Start”, which you already have'
    """
    return _with_subject(_REFUSALS[code][_LANGUAGES.index(language)], language, subject)


def cure_text(code: str, language: str, subject: str = "") -> str:
    """The sentence that tells a client what would let it have an offer.

    Args:
        code: ``connect_first`` (subject: a title), ``wait_until`` and ``offered_again`` (subject: a day),
            ``tell_fact`` (subject: facts; see `fact_text`) or ``raise_limit``.
        language: ``ru`` or ``en``.
        subject: What the sentence speaks of.

    Example:
        >>> cure_text("wait_until", "en", day_text(date(2026, 3, 1), "en"))
        'Available from 1 March 2026'
    """
    return _with_subject(_CURES[code][_LANGUAGES.index(language)], language, subject)


def fact_text(field: str, language: str) -> str:
    """A field that a client can tell of itself, as the object of a sentence.

    Args:
        field: One of `TELLABLE_FACTS`.
        language: ``ru`` or ``en``.

    Example:
        >>> refusal_text("fact_unknown", "en", fact_text("region", "en"))
        'We do not know your region'
        >>> cure_text("tell_fact", "ru", fact_text("region", "ru"))
        'Сообщите нам ваш регион'
    """
    return _TELLABLE[field][_LANGUAGES.index(language)]


def figure_text(name: str, language: str) -> str:
    """Any other fact as the object of a sentence; in Russian its name stays as it is.

    Example:
        >>> refusal_text("fact_unknown", "ru", figure_text("доля расходов в роуминге", "ru"))
        'Мы не знаем показатель «доля расходов в роуминге»'
    """
    return name if language == "en" else f"показатель «{_inner_quotes(name, language)}»"


def join_facts(names: Sequence[str], language: str) -> str:
    """Several facts in one sentence.

    Example:
        >>> join_facts(["your region", "your industry"], "en")
        'your region and your industry'
    """
    return (" и " if language == "ru" else " and ").join(names)


def currency_sign(currency: str | None) -> str:
    """What stands behind an amount: the sign of roubles, of any other currency its ISO code.

    Example:
        >>> [currency_sign(code) for code in ("RUB", "GBP", None)]
        ['₽', 'GBP', '']
    """
    return "₽" if currency == "RUB" else currency or ""


def metric_text(value: float) -> str:
    """A measured figure as a terminal shows it: a whole number whole, another one in four figures.

    Example:
        >>> metric_text(14_706.0), metric_text(0.0539216)
        ('14706', '0.05392')
    """
    return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"


def day_text(day: date, language: str) -> str:
    """A day in words.

    Example:
        >>> day_text(date(2026, 3, 1), "ru")
        '1 марта 2026'
    """
    return f"{day_and_month_text(day, language)} {day.year}"


def day_and_month_text(day: date, language: str) -> str:
    """A day of the present year or the next in words.

    Example:
        >>> day_and_month_text(date(2026, 12, 12), "ru")
        '12 декабря'
    """
    return f"{day.day} {_MONTHS[day.month - 1][_LANGUAGES.index(language)]}"


def month_text(day: date, language: str) -> str:
    """The month of a day in words, for the end of a sentence such as "figures end in …".

    Example:
        >>> month_text(date(2026, 4, 1), "en")
        'April 2026'
    """
    return f"{_MONTHS[day.month - 1][_LANGUAGES.index(language)]} {day.year}"


def one_of_text(titles: Sequence[str], language: str) -> str:
    """Titles of which any one will do, each in quotation marks; of many, the first three.

    Example:
        >>> one_of_text(["A", "B"], "ru")
        '«A» или «B»'
        >>> one_of_text(["A", "B", "C", "D"], "en")
        '“A”, “B”, “C” or another one'
    """
    opening, closing = "«»" if language == "ru" else "“”"
    quoted = [f"{opening}{_inner_quotes(title, language)}{closing}" for title in titles]
    last = "или" if language == "ru" else "or"
    if len(quoted) > _MAX_TITLES:
        another = "другая" if language == "ru" else "another one"
        return f"{', '.join(quoted[:_MAX_TITLES])} {last} {another}"
    return f" {last} ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part)


def cohort_phrase(trait: str, language: str) -> str | None:
    """Who is meant by a trait such as ``industry=G``; None for a trait that no reason may name."""
    phrases = _COHORTS.get(trait)
    return None if phrases is None else phrases[_LANGUAGES.index(language)]


def _with_subject(sentence: str, language: str, subject: str) -> str:
    """Inside quotation marks those of the subject are of the second kind."""
    if "«{subject}" in sentence or "“{subject}" in sentence:
        subject = _inner_quotes(subject, language)
    return sentence.replace("{subject}", subject)


def _inner_quotes(subject: str, language: str) -> str:
    """Quotation marks inside quotation marks are of the second kind of the language."""
    if language == "ru":
        return subject.replace("«", "„").replace("»", "“")
    return subject.replace("“", "‘").replace("”", "’")

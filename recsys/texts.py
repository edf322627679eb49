"""The sentences that people read, in Russian and English.

A sentence speaks of services, of kinds of companies and of prices: never of a person and never of another
company. ``{subject}`` is a title or one of the phrases below.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_REASONS = {
    "upgrade": {
        "ru": "Следующая версия услуги «{subject}», которая у вас уже подключена",
        "en": "The next edition of “{subject}”, which you already have",
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

REASONS: Mapping[str, Mapping[str, str]] = MappingProxyType(_REASONS)


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
    sentence = _REASONS[code][language]
    if "{subject}" not in sentence:
        return sentence
    return sentence.replace("{subject}", _inner_quotes(subject, language))


def cohort_phrase(trait: str, language: str) -> str | None:
    """Who is meant by a trait such as ``industry=G``; None for a trait that no reason may name."""
    phrases = _COHORTS.get(trait)
    return None if phrases is None else phrases[_LANGUAGES.index(language)]


def _inner_quotes(subject: str, language: str) -> str:
    """Quotation marks inside quotation marks are of the second kind of the language."""
    if language == "ru":
        return subject.replace("«", "„").replace("»", "“")
    return subject.replace("“", "‘").replace("”", "’")

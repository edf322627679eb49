"""Conditions as sentences that people read, in Russian and English."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from recsys.decision.conditions.syntax import Condition
from recsys.decision.conditions.vocabulary import EVENTS, TAG_PREFIX, Fact, Kind
from recsys.decision.policy.scope import OfferScope
from recsys.domain import Language, OfferKind
from recsys.texts import figure_text

if TYPE_CHECKING:  # the catalogue imports the rules, and the rules import this
    from recsys.decision.catalogue import CompiledCatalogue

_OPPOSITES = {
    "is_": "is_not",
    "is_not": "is_",
    "in_": "not_in",
    "not_in": "in_",
    "at_least": "less_than",
    "less_than": "at_least",
    "at_most": "more_than",
    "more_than": "at_most",
}
# Two templates each: for Russian and for English.
_NUMBERS = {
    "is_": ("— {}", "is {}"),
    "is_not": ("— не {}", "is not {}"),
    "in_": ("— {}", "is {}"),
    "not_in": ("— не {}", "is not {}"),
    "at_least": ("не меньше {}", "is at least {}"),
    "at_most": ("не больше {}", "is at most {}"),
    "more_than": ("больше {}", "is more than {}"),
    "less_than": ("меньше {}", "is less than {}"),
    "between": ("от {} до {}", "is between {} and {}"),
}
_DATES = {
    **_NUMBERS,
    "at_least": ("не раньше {}", "is {} or later"),
    "at_most": ("не позже {}", "is {} or earlier"),
    "more_than": ("позже {}", "is after {}"),
    "less_than": ("раньше {}", "is before {}"),
    "between": ("с {} по {}", "is between {} and {}"),
}
# In Russian what is known agrees with "показатель" or "признак", whatever the name of the fact.
_MISSING = {True: ("неизвестен", "is unknown"), False: ("известен", "is known")}
_WORDS = {
    "and": (" и ", " and "),
    "or": (" или ", " or "),
    "nor": (" и не ", " or "),
    "not": ("неверно, что {}", "it is not so that {}"),
    "segment": ("компания входит в сегмент «{}»", "the company is in the segment “{}”"),
    "not_segment": ("компания не входит в сегмент «{}»", "the company is not in the segment “{}”"),
    "holds": ("подключена услуга{}", "a service{} is connected"),
    "not_holds": ("не подключена ни одна услуга{}", "no service{} is connected"),
    "not_holds_one": ("не подключена услуга{}", "the service{} is not connected"),
    "n_held": ("число подключённых услуг{}", "the number of connected services{}"),
    "days_since_connected": (
        "число дней с последнего подключения услуги{}",
        "the number of days since a service{} was last connected",
    ),
    "n_events": ("число {}{} за {}", "the number of {}{} in the {}"),
    "days_since_event": ("число дней с последнего {}{}", "the number of days since the last {}{}"),
    "of_offers": (" по предложению{}", " of an offer{}"),
    "categories": ("из категории {}", "in the category {}"),
    "need_groups": ("для потребности {}", "for the need {}"),
    "suppliers": ("от поставщика {}", "from the supplier {}"),
}
_KINDS = {
    OfferKind.OWN: ("от самого оператора", "of the operator itself"),
    OfferKind.PARTNER: ("от партнёров", "of partners"),
    OfferKind.CONTENT: ("с контентом", "with content"),
}
_FEMININE_LAST = ("заявки", "жалобы")


def sentence(
    condition: Condition,
    segments: Mapping[str, Condition],
    language: Language,
    catalogue: CompiledCatalogue | None = None,
    currency: str = "",
) -> str:
    """What a condition says, as a sentence of its own.

    Args:
        condition: The condition.
        segments: A segment that it names is explained in brackets, where it is found here.
        language: In which language.
        catalogue: Gives titles of offers; whatever it does not know is named by its id.
        currency: Sign that stands behind amounts, such as ``₽``; empty where it is not known.

    Returns:
        A sentence without a full stop.

    Example:
        >>> condition = Condition.model_validate(
        ...     {"all": [{"field": "n_employees", "at_least": 10}, {"not": {"holds": {"offers": ["crm"]}}}]}
        ... )
        >>> sentence(condition, {}, Language.EN)
        'The number of employees is at least 10 and the service “crm” is not connected'
        >>> sentence(condition, {}, Language.RU)
        'Число сотрудников не меньше 10 и не подключена услуга «crm»'
    """
    text = clause(condition, segments, language, catalogue, currency)
    first = len(text) - len(text.lstrip("("))
    return text[:first] + text[first : first + 1].upper() + text[first + 1 :]


def clause(
    condition: Condition,
    segments: Mapping[str, Condition],
    language: Language,
    catalogue: CompiledCatalogue | None = None,
    currency: str = "",
) -> str:
    """What a condition says, for the middle of a sentence; see `sentence`.

    Example:
        >>> costly = Condition.model_validate({"field": "spend_minor", "more_than": 300_000})
        >>> "Only if " + clause(costly, {}, Language.EN, currency="₽").replace("\u00a0", " ")
        "Only if last month's spend is more than 3,000 ₽"
    """
    return _Teller(segments, language, catalogue, currency).tell(condition)


class _Teller:
    """Tells conditions in one language."""

    def __init__(
        self,
        segments: Mapping[str, Condition],
        language: Language,
        catalogue: CompiledCatalogue | None,
        currency: str,
    ) -> None:
        self._segments = segments
        self._language = language
        self._catalogue = catalogue
        self._currency = currency
        self._is_english = language is Language.EN

    def tell(self, condition: Condition, *, is_negated: bool = False, is_inner: bool = False) -> str:
        """A condition, or its opposite; `is_inner` puts brackets where the parts could be misread."""
        if condition.negated is not None:
            return self.tell(condition.negated, is_negated=not is_negated, is_inner=is_inner)
        if condition.all_of is not None or condition.any_of is not None:
            return self._group(condition, is_negated=is_negated, is_inner=is_inner)
        if condition.segment is not None:
            return self._segment(condition.segment, is_negated=is_negated)
        if condition.holds is not None:
            is_one = len(condition.holds.offers) == 1 and is_negated
            word = ("not_holds_one" if is_one else "not_holds") if is_negated else "holds"
            text = self._word(word).format(self._scope(condition.holds))
        else:
            text = self._comparison(condition, is_negated=is_negated)
        return f"({text})" if is_inner and _is_list(condition, is_negated=is_negated) else text

    def _group(self, condition: Condition, *, is_negated: bool, is_inner: bool) -> str:
        parts = condition.all_of or condition.any_of or ()
        is_every = (condition.all_of is not None) != is_negated  # De Morgan
        is_alone = len(parts) == 1
        told = [self.tell(part, is_negated=is_negated, is_inner=is_inner or not is_alone) for part in parts]
        text = self._word("and" if is_every else "or").join(told)
        return f"({text})" if is_inner and not is_alone else text

    def _segment(self, name: str, *, is_negated: bool) -> str:
        text = self._word("not_segment" if is_negated else "segment").format(name)
        if name not in self._segments:
            return text
        # segments inside it are only named: explaining each could double the text at every step
        inner = _Teller({}, self._language, self._catalogue, self._currency).tell(self._segments[name])
        return f"{text} ({inner})"

    def _comparison(self, condition: Condition, *, is_negated: bool) -> str:
        fact = condition.fact
        comparison, operand = condition.comparison
        if fact is not None and fact.kind is Kind.FLAG and comparison != "is_missing":
            is_true = (operand == (comparison == "is_")) != is_negated
            return (fact.en if self._is_english else fact.ru)[0 if is_true else 1]
        subject = self._subject(condition, fact)
        if comparison == "is_missing":
            name = subject if self._is_english or _is_tag(condition) else figure_text(subject, self._language)
            return f"{name} {_MISSING[operand != is_negated][self._is_english]}"
        told = _OPPOSITES.get(comparison, comparison) if is_negated else comparison
        values = [
            self._value(value, fact) for value in (operand if isinstance(operand, tuple) else [operand])
        ]
        templates = _DATES if fact is not None and fact.kind is Kind.DAY else _NUMBERS
        template = templates[told][self._is_english]
        if told == "between":
            text = f"{subject} {template.format(*values)}"
            return self._word("not").format(text) if is_negated else text
        return f"{subject} {template.format(self._word('nor' if told == 'not_in' else 'or').join(values))}"

    def _subject(self, condition: Condition, fact: Fact | None) -> str:
        if condition.n_held is not None:
            return self._word("n_held").format(self._scope(condition.n_held))
        if condition.days_since_connected is not None:
            return self._word("days_since_connected").format(self._scope(condition.days_since_connected))
        if condition.n_events is not None:
            events = condition.n_events
            many, _ = EVENTS[events.type][self._is_english]
            days = _last_days(events.within_days, is_english=self._is_english)
            return self._word("n_events").format(many, self._of_offers(events.offers), days)
        if condition.days_since_event is not None:
            latest = condition.days_since_event
            _, one = EVENTS[latest.type][self._is_english]
            text = self._word("days_since_event").format(one, self._of_offers(latest.offers))
            return text.replace("последнего", "последней") if one in _FEMININE_LAST else text
        if fact is None:
            raise ValueError("the condition compares nothing")
        return (fact.en if self._is_english else fact.ru)[0]

    def _value(self, value: Any, fact: Fact | None) -> str:
        if fact is not None and str(value) in fact.labels:
            return fact.labels[str(value)][self._is_english]
        if isinstance(value, str):
            return self._quoted(value)
        if isinstance(value, date):
            return value.isoformat() if self._is_english else value.strftime("%d.%m.%Y")
        if fact is not None and fact.unit == "share":
            percent = f"{100 * value:.10g}"
            return f"{percent}%" if self._is_english else f"{percent} %".replace(".", ",")
        if fact is not None and fact.unit == "minor units":
            amount = self._number(value / 100)
            return f"{amount}\u00a0{self._currency}" if self._currency else amount
        return self._number(value)

    def _number(self, value: float) -> str:
        text = f"{value:,.2f}".removesuffix(".00")
        return text if self._is_english else text.replace(",", "\u00a0").replace(".", ",")

    def _of_offers(self, scope: OfferScope) -> str:
        return "" if scope.is_everything else self._word("of_offers").format(self._scope(scope))

    def _scope(self, scope: OfferScope) -> str:
        """What a scope says, a space before it; empty for every offer."""
        parts = [self._names([self._title(offer_id) for offer_id in scope.offers])] if scope.offers else []
        parts += [_KINDS[kind][self._is_english] for kind in scope.kinds[:1]]
        for kind in scope.kinds[1:]:
            parts[-1] += self._word("or") + _KINDS[kind][self._is_english]
        for key in ("categories", "need_groups", "suppliers"):
            if names := getattr(scope, key):
                parts.append(self._word(key).format(self._names(names)))
        return "".join(f" {part}" for part in parts)

    def _title(self, offer_id: str) -> str:
        return (self._catalogue and self._catalogue.title(offer_id, self._language)) or offer_id

    def _names(self, names: Sequence[str]) -> str:
        return self._word("or").join(self._quoted(name) for name in names)

    def _quoted(self, name: str) -> str:
        if self._is_english:
            return f"“{name.replace('“', '‘').replace('”', '’')}”"
        return f"«{name.replace('«', '„').replace('»', '“')}»"

    def _word(self, word: str) -> str:
        return _WORDS[word][self._is_english]


def _is_tag(condition: Condition) -> bool:
    return (condition.field or "").startswith(TAG_PREFIX)


def _is_list(condition: Condition, *, is_negated: bool) -> bool:
    """Whether the text has an "or", or an "and", of its own that could be taken for one of the sentence."""
    events = condition.n_events or condition.days_since_event
    scope = (
        condition.holds or condition.n_held or condition.days_since_connected or (events and events.offers)
    )
    if scope and any(len(getattr(scope, key)) > 1 for key in OfferScope.model_fields):
        return True
    if condition.holds is not None:
        return False
    comparison, operand = condition.comparison
    return (comparison in ("in_", "not_in") and len(operand) > 1) or (comparison == "between" and is_negated)


def _last_days(n: int, *, is_english: bool) -> str:
    """The days of a period that ends now.

    Example:
        >>> _last_days(1, is_english=True), _last_days(1, is_english=False), _last_days(3, is_english=False)
        ('last day', 'последний день', 'последние 3 дня')
    """
    if n == 1:
        return "last day" if is_english else "последний день"
    return f"{'last' if is_english else 'последние'} {days_text(n, is_english=is_english)}"


def days_text(n: int, *, is_english: bool) -> str:
    """A number of days.

    Example:
        >>> [days_text(n, is_english=False) for n in (1, 3, 11, 22)]
        ['1 день', '3 дня', '11 дней', '22 дня']
    """
    if is_english:
        return f"{n} day" + ("" if n == 1 else "s")
    if n % 10 == 1 and n != 11:
        return f"{n} день"
    return f"{n} дня" if n % 10 in (2, 3, 4) and n not in (12, 13, 14) else f"{n} дней"

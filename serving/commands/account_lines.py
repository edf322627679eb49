"""The account of a decision as lines for a terminal of any width, in Russian and English."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from recsys.decision.refusals import RefusalStage, Rule
from recsys.domain import Change, Language

if TYPE_CHECKING:
    from recsys.decision.account import Account, Suppressed, Weights
    from serving.services.explanation import Explanation
    from serving.services.recommendation import Item, RecommendedList

_STAGES = MappingProxyType(
    {
        RefusalStage.AVAILABILITY: ("доступность", "availability"),
        RefusalStage.ELIGIBILITY: ("право", "eligibility"),
        RefusalStage.APPLICABILITY: ("уместность", "applicability"),
        RefusalStage.SUITABILITY: ("польза", "suitability"),
        RefusalStage.CONTACT_POLICY: ("частота показов", "contact policy"),
        RefusalStage.REQUEST: ("запрос", "request"),
        RefusalStage.PLACEMENT: ("место", "placement"),
    }
)
_CHANGES = MappingProxyType(
    {
        Change.NEW: ("новая услуга", "new"),
        Change.UPGRADE: ("следующая версия", "upgrade"),
        Change.EXPAND: ("расширение", "expansion"),
        Change.RENEW: ("продление", "renewal"),
        Change.RETAIN: ("удержание", "retention"),
    }
)
_WORDS = MappingProxyType(
    {
        "legend": (
            "приоритет = P × C × V × L: вероятность × контекст × ценность × рычаги",
            "priority = P × C × V × L: probability × context × value × levers",
        ),
        "left": ("осталось из {0}", "left of {0}"),
        "priority": ("приоритет", "priority"),
        "drawn": ("вероятность места", "drawn with probability"),
        "pinned": ("закреплено за местом", "pinned to this place"),
        "shown_headings": (
            "услуга|название|изменение|P|C|V|L|приоритет|вероятность места|почему",
            "offer|title|change|P|C|V|L|priority|P(draw)|because",
        ),
        "refused_headings": (
            "услуга|название|правило|почему|что поможет",
            "offer|title|rule|why|what would help",
        ),
        "nothing": ("ничего не показано", "nothing is shown"),
        "refused": ("не показано", "not shown"),
        "refused_everywhere": ("не показано нигде", "shown nowhere"),
        "held_out": (
            "отложен, чтобы измерять: видит обычный порядок, без моделей и экспериментов",
            "held out, to measure: sees business as usual, without models and experiments",
        ),
        "arm": ("эксперимент {0}: вариант {1}", "experiment {0}: arm {1}"),
        "arm_forced": ("назначен вручную", "put there by hand"),
        "arm_lacking": ("нет {0}, решает действующее", "{0} cannot be had, what is in force decides"),
        "arm_different": ("другой вариант показал бы иное", "another arm would show another list"),
        "arm_same": ("другие варианты показали бы то же", "the other arms would show the same"),
        "candidate": (
            "кандидат, {0}-й из {1} по приоритету, список короче",
            "a candidate, number {0} of {1} by priority; the list is shorter",
        ),
    }
)
# More offers than these that one rule refuses in the same words share a line.
_FEW = 2


class Table(NamedTuple):
    """What a wide terminal shows as a table."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Lines:
    """Writes accounts down.

    Args:
        explanation: What is written down.
        language: Language of headings, stages and changes.
    """

    def __init__(self, explanation: Explanation, language: Language) -> None:
        self._explanation = explanation
        self._positions = explanation.world.catalogue.positions
        self._place = (Language.RU, Language.EN).index(language)

    @property
    def legend(self) -> str:
        """What the four letters stand for."""
        return self._word("legend")

    def arms(self) -> Iterator[str]:
        """The experiments whose arms decided, or that the client is held out from them."""
        for enrolment, is_different in self._explanation.arms:
            if enrolment.is_held_out:
                yield self._word("held_out")
            elif enrolment.trial is not None:
                parts = [self._word("arm").format(enrolment.experiment_id, enrolment.arm)]
                if enrolment.is_forced:
                    parts.append(self._word("arm_forced"))
                if enrolment.fault is not None:
                    parts.append(self._word("arm_lacking").format(enrolment.fault))
                parts.append(self._word("arm_different" if is_different else "arm_same"))
                yield "; ".join(parts)

    def all(self) -> Iterator[str]:
        """Every list, and what is refused in all of them once, at the end."""
        yield from self.arms()
        yield self.legend
        given, accounts = self._explanation.recommendation, self._explanation.accounts
        common = _common(accounts)
        for shown, account in zip(given.lists, accounts, strict=True):
            yield ""
            yield f"{shown.placement_id}: {self._funnel(account)}"
            for item in shown.items:
                yield from self._shown(item, account)
            if not shown.items:
                yield f"  {self._word('nothing')}"
            yield from self._refused(
                "refused", [one for one in account.suppressed if one not in common], "  "
            )
        yield from self._refused("refused_everywhere", common, "")

    def of_offer(self, offer_id: str) -> Iterator[str]:
        """Where one offer is shown and why, or what refuses it and what would help."""
        yield from self.arms()
        yield self.legend
        yield f"{offer_id}  {self._title(offer_id)}"
        for shown, account in zip(
            self._explanation.recommendation.lists, self._explanation.accounts, strict=True
        ):
            for line in self._fate(offer_id, shown, account):
                yield f"  {shown.placement_id}: {line.strip()}"

    def _fate(self, offer_id: str, shown: RecommendedList, account: Account) -> Iterator[str]:
        for item in shown.items:
            if item.offer.offer_id == offer_id:
                yield from self._shown(item, account)
                return
        refusals = [one for one in account.suppressed if one.offer_id == offer_id]
        if refusals:
            yield f"{self._word('refused')}: {self._why(refusals[0])}"
            return
        position = self._positions[offer_id]
        number = list(account.weights).index(position) + 1
        stands = self._word("candidate").format(number, len(account.weights))
        yield f"{stands}; {self._priority(account.weights[position])}"

    def _funnel(self, account: Account) -> str:
        left = " · ".join(f"{self._stage(stage)} {n_left}" for stage, n_left in account.funnel.items())
        return f"{self._word('left').format(account.n_offers)}: {left}"

    def _shown(self, item: Item, account: Account) -> Iterator[str]:
        position = self._positions[item.offer.offer_id]
        if position in account.pinned:
            drawn = self._word("pinned")
        else:
            drawn = f"{self._word('drawn')} {item.logging_probability:.3g}"
        change = _CHANGES[item.change][self._place]
        yield (
            f"  {item.rank}. {item.offer.offer_id}  {item.offer.title}: {change};"
            f" {self._priority(account.weights[position])}; {drawn}"
        )
        if item.reasons:
            yield f"     {'; '.join(reason.text for reason in item.reasons)}"

    def _priority(self, weights: Weights) -> str:
        return (
            f"{self._word('priority')} {weights.priority:.3g} = {weights.probability:.3g}"
            f" × {weights.context:.3g} × {weights.value:.3g} × {weights.levers:.3g}"
        )

    def _refused(self, heading: str, suppressed: Iterable[Suppressed], indent: str) -> Iterator[str]:
        in_order = _useful_first(suppressed)
        if in_order:
            yield f"{indent}{self._word(heading)}:" if indent else f"\n{self._word(heading)}:"
        for (rule, text, cure), many in groupby(in_order, key=lambda one: (one.rule, one.text, one.cure)):
            alike = list(many)
            if cure is None and len(alike) > _FEW:
                offer_ids = ", ".join(one.offer_id for one in alike)
                yield f"{indent}  {self._rule(rule)}: {text}: {offer_ids}"
            else:
                yield from (f"{indent}  {self._refusal(one)}" for one in alike)

    def tables(self) -> Iterator[Table]:
        """The same as `all`, for a wide terminal."""
        given, accounts = self._explanation.recommendation, self._explanation.accounts
        common = _common(accounts)
        for shown, account in zip(given.lists, accounts, strict=True):
            rows = [self._row(item, account) for item in shown.items]
            title = f"{shown.placement_id}: {self._funnel(account)}"
            yield Table(title, self._headings("shown_headings"), rows)
            rest = [one for one in account.suppressed if one not in common]
            if rest:
                yield self._refused_table("refused", rest)
        if common:
            yield self._refused_table("refused_everywhere", common)

    def _row(self, item: Item, account: Account) -> tuple[str, ...]:
        position = self._positions[item.offer.offer_id]
        weights = account.weights[position]
        factors = (weights.probability, weights.context, weights.value, weights.levers, weights.priority)
        is_pinned = position in account.pinned
        return (
            item.offer.offer_id,
            item.offer.title,
            _CHANGES[item.change][self._place],
            *(f"{factor:.3g}" for factor in factors),
            self._word("pinned") if is_pinned else f"{item.logging_probability:.3g}",
            "; ".join(reason.text for reason in item.reasons),
        )

    def _refused_table(self, heading: str, suppressed: Iterable[Suppressed]) -> Table:
        rows = [
            (
                one.offer_id,
                one.title,
                self._rule(one.rule),
                one.text,
                "" if one.cure is None else one.cure.text,
            )
            for one in _useful_first(suppressed)
        ]
        return Table(self._word(heading), self._headings("refused_headings"), rows)

    def _headings(self, name: str) -> tuple[str, ...]:
        return tuple(self._word(name).split("|"))

    def _refusal(self, one: Suppressed) -> str:
        return f"{one.offer_id}  {self._why(one)}"

    def _why(self, one: Suppressed) -> str:
        cure = "" if one.cure is None else f" → {one.cure.text}"
        return f"{self._rule(one.rule)}: {one.text}{cure}"

    def _title(self, offer_id: str) -> str:
        language = (Language.RU, Language.EN)[self._place]
        return self._explanation.world.catalogue.title(offer_id, language) or offer_id

    def _rule(self, rule: Rule) -> str:
        return f"{self._stage(rule.stage)}/{rule.rule_id}"

    def _stage(self, stage: RefusalStage) -> str:
        return _STAGES[stage][self._place]

    def _word(self, name: str) -> str:
        return _WORDS[name][self._place]


def _useful_first(suppressed: Iterable[Suppressed]) -> list[Suppressed]:
    """By rule: first the rules that a step would lift, then those of the latest stage; cured offers first."""
    refusals = list(suppressed)
    cured = {one.rule.rule_id for one in refusals if one.cure is not None}
    stages = list(RefusalStage)
    return sorted(
        refusals,
        key=lambda one: (
            one.rule.rule_id not in cured,
            -stages.index(one.rule.stage),
            one.rule.rule_id,
            one.cure is None,
            one.text,
            one.offer_id,
        ),
    )


def _common(accounts: Sequence[Account]) -> tuple[Suppressed, ...]:
    """What every one of several lists refuses in the same way; nothing of a single list."""
    if len(accounts) < 2:
        return ()
    first, *others = [account.suppressed for account in accounts]
    return tuple([one for one in first if all(one in other for other in others)])

"""Do the examples beside the rules hold? Each one is decided by the same code as in serving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson

from recsys.data.documents import YamlDocument
from recsys.data.state import Showing, apply_events, put_holdings, put_months
from recsys.decision.arbitration import Estimate, rank
from recsys.decision.availability import Restrictions
from recsys.decision.decide import Slate, decide
from recsys.decision.engine import Engine
from recsys.decision.policy.examples import ClientExample, ExamplesFile, ExampleSpec, Expectation
from recsys.decision.situation import Ask, Situation
from recsys.domain import (
    Basis,
    ClientId,
    ClientState,
    DecisionId,
    Event,
    EventId,
    EventType,
    Holding,
    MemberId,
    OfferId,
    Profile,
)
from recsys.errors import ConfigError
from recsys.history import MonthFigures
from training.pipelines.policies.sources import (
    many,
    needed_catalogue,
    open_clients,
    open_policy,
    refuse_unsound,
)

_PROBABILITY = 0.05
_N_MONTHS = 4
_CLIENT = ClientId("example")
_FIGURES = tuple(name for name in MonthFigures._fields if name != "month_on")


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """How one example came out.

    Attributes:
        id: The example.
        passed: Whether everything expected of it was decided.
        decided: One sentence for each expectation: what was decided and why; of one that is not met also
            what was expected and at which line.
        place: ``file:line`` of the example.
    """

    id: str
    passed: bool
    decided: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class ExamplesReport:
    """How every example came out.

    Attributes:
        place: The policy's folder.
        version: The policy's version.
        results: In the order of the document.
    """

    place: str
    version: str
    results: tuple[ExampleResult, ...]

    @property
    def n_failed(self) -> int:
        """Examples that do not hold."""
        return sum(not result.passed for result in self.results)

    def to_json(self) -> str:
        """The report as one JSON object."""
        return orjson.dumps(
            {
                "place": self.place,
                "version": self.version,
                "n_examples": len(self.results),
                "n_failed": self.n_failed,
                "examples": self.results,
            }
        ).decode()

    def __str__(self) -> str:
        lines = []
        for result in self.results:
            lines.append(f"{'pass' if result.passed else 'FAIL'}  {result.id}")
            lines += [f"        {sentence}" for sentence in result.decided]
        fails = f"{self.n_failed} fails" if self.n_failed == 1 else f"{self.n_failed} fail"
        verdict = fails if self.n_failed else "it holds" if len(self.results) == 1 else "all hold"
        n_examples = many(len(self.results), "example")
        return "\n".join([*lines, f"{self.place}: {n_examples}, version {self.version}: {verdict}"])


def run_examples(folder: Path, data: str | None = None) -> ExamplesReport:
    """Decide every example of a policy.

    Args:
        folder: The policy's folder, with ``examples.yaml``; without data its ``catalogue.yaml`` says which
            offers there are.
        data: A dataset whose offers the rules name.

    Raises:
        ConfigError: The policy is wrong or has no examples, or there is no catalogue.
        DataError: The data cannot be read.
    """
    files = open_policy(folder)
    if files.examples is None:
        raise ConfigError(f"{folder}: has no examples.yaml; write the examples that the rules must meet")
    catalogue = needed_catalogue(folder, None if data is None else open_clients(data))
    refuse_unsound(files, catalogue)
    engine = Engine(catalogue, files.policy, files.examples.at.tzinfo or UTC)
    document = files.parsed["examples.yaml"]
    results = [_run(engine, files.examples, index, document) for index in range(len(files.examples.examples))]
    return ExamplesReport(str(folder), files.policy.version, tuple(results))


def _run(engine: Engine, examples: ExamplesFile, index: int, document: YamlDocument) -> ExampleResult:
    example, path = examples.examples[index], ("examples", index)
    slate = _decide(engine, examples, example)
    outcomes = [_judge(engine, slate, expected) for expected in example.expect]
    return ExampleResult(
        example.id,
        passed=all(passed for passed, _ in outcomes),
        decided=tuple(
            sentence
            if passed
            else f"{sentence}; expected: {_wanted(expected)} ({document.place_of((*path, 'expect', at))})"
            for at, ((passed, sentence), expected) in enumerate(zip(outcomes, example.expect, strict=True))
        ),
        place=document.place_of(path),
    )


def _decide(engine: Engine, examples: ExamplesFile, example: ExampleSpec) -> Slate:
    moment = example.moment
    now = examples.moment_of(example)
    placement = moment.placement or examples.placement
    situation = Situation(
        state=state_of(examples.client_of(example), now),
        now=now,
        asks=(Ask(placement, engine.placements[placement].k),),
        channel=moment.channel,
        language=moment.language,
        member_id=moment.member,
        role=moment.role,
        restrictions=Restrictions(
            used_up_caps=frozenset(moment.used_up_caps), spending_limit_minor=moment.spending_limit_minor
        ),
    )
    ids = engine.catalogue.offer_ids
    probabilities = np.array([example.probabilities.get(offer_id, _PROBABILITY) for offer_id in ids])
    estimate = Estimate(
        probabilities, rank(probabilities, probabilities), Basis.PROFILE, target=None, is_personalised=True
    )
    return decide(situation, estimate, engine).slates[0]


def _judge(engine: Engine, slate: Slate, expected: Expectation) -> tuple[bool, str]:
    """Whether an expectation is met, and what was decided."""
    sentences = [_sentence(engine, slate, offer_id) for offer_id in expected.offer_ids]
    places = [_place(engine, slate, offer_id) for offer_id in expected.offer_ids]
    if expected.first is not None:
        first, second = places
        passed = first is not None and second is not None and first < second
    elif expected.allowed is not None:
        position = engine.catalogue.positions[expected.allowed]
        change = slate.verdicts.change_of(position)
        passed = places[0] is not None and expected.change in (None, change)
    else:
        rule_id = _rule_id(engine, slate, expected.offer_ids[0])
        passed = rule_id is not None and expected.by in (None, rule_id)
    return passed, "; ".join(sentences)


def _wanted(expected: Expectation) -> str:
    """What an expectation asks for, as it is written."""
    return ", ".join(f"{name}: {value}" for name, value in expected if value is not None)


def _place(engine: Engine, slate: Slate, offer_id: str) -> int | None:
    """0-based place among the candidates; None = it is refused."""
    found = np.flatnonzero(slate.candidates == engine.catalogue.positions[offer_id])
    return int(found[0]) if len(found) else None


def _rule_id(engine: Engine, slate: Slate, offer_id: str) -> str | None:
    position = engine.catalogue.positions[offer_id]
    if slate.verdicts.is_candidate[position]:
        return None
    return engine.book[int(slate.verdicts.numbers[position])].rule_id


def _sentence(engine: Engine, slate: Slate, offer_id: str) -> str:
    position = engine.catalogue.positions[offer_id]
    place = _place(engine, slate, offer_id)
    if place is None:
        rule = engine.book[int(slate.verdicts.numbers[position])]
        return f"{offer_id} is refused by {rule.rule_id} ({rule.stage})"
    change, factors = slate.verdicts.change_of(position), slate.factors
    return (
        f"{offer_id} is number {place + 1} of {len(slate.candidates)} ({change}; priority"
        f" {factors.priority[position]:.3g} = {factors.probability[position]:.3g} ×"
        f" {factors.context[position]:.3g} × {factors.value[position]:.3g} × {factors.levers[position]:.3g})"
    )


def state_of(client: ClientExample, now: datetime) -> ClientState:
    """The state that a client of an example has.

    Args:
        client: The client.
        now: The moment of the decision; everything in the past lies before it.
    """
    state = ClientState(_CLIENT, profile=_profile_of(client, now))
    state = put_months(state, _months_of(client, now.date()))
    showings: dict[str, Showing] = {
        _decision_id(index): Showing(seen.placement or "", seen.member)
        for index, seen in enumerate(client.seen)
    }
    state = apply_events(state, list(_events_of(client, now)), now, showings)
    return put_holdings(state, _holdings_of(client, now), now)


def _profile_of(client: ClientExample, now: datetime) -> Profile:
    since = None if client.tenure_days is None else now.date() - timedelta(days=client.tenure_days)
    return Profile(
        legal_form=client.legal_form,
        size=client.size,
        industry=client.industry,
        region=client.region,
        stage=client.stage,
        n_employees=client.n_employees,
        revenue_minor=client.revenue_minor,
        client_since_on=since,
        is_vip=client.is_vip,
        loyalty_points=client.loyalty_points,
        account_group_id=client.account_group,
        tags=tuple(f"{key}={value}" for key, value in client.tags.items()),
    )


def _months_of(client: ClientExample, today: date) -> Sequence[MonthFigures]:
    figures = {name: getattr(client, name) for name in _FIGURES}
    if all(value is None for value in figures.values()):
        return ()
    month, months = today.replace(day=1), []
    for _ in range(_N_MONTHS):
        month = (month - timedelta(days=1)).replace(day=1)
        months.append(MonthFigures(month, **figures))
    return months


def _holdings_of(client: ClientExample, now: datetime) -> Iterator[Holding]:
    for index, held in enumerate(client.holds):
        ends = held.term_ends_in_days
        yield Holding(
            holding_id=f"holding-{index}",
            offer_id=OfferId(held.offer),
            connected_at=now - timedelta(days=held.days),
            quantity=held.quantity,
            term_ends_on=None if ends is None else now.date() + timedelta(days=ends),
        )


def _events_of(client: ClientExample, now: datetime) -> Iterator[Event]:
    for index, put_aside in enumerate(client.dismissed):
        yield Event(
            EventId(f"dismissal-{index}"),
            EventType.DISMISSAL,
            _CLIENT,
            now - timedelta(days=put_aside.days),
            offer_id=OfferId(put_aside.offer),
            reason=put_aside.reason,
        )
    for index, seen in enumerate(client.seen):
        for number in range(seen.times):
            yield Event(
                EventId(f"impression-{index}-{number}"),
                EventType.IMPRESSION,
                _CLIENT,
                now - timedelta(days=seen.days),
                offer_id=OfferId(seen.offer),
                decision_id=_decision_id(index),
                member_id=None if seen.member is None else MemberId(seen.member),
            )
    for index, days in enumerate(client.complaints):
        at = now - timedelta(days=days)
        yield Event(EventId(f"complaint-{index}"), EventType.COMPLAINT, _CLIENT, at)
    for index, left in enumerate(client.left):
        at = now - timedelta(days=left.days)
        event_id = EventId(f"disconnection-{index}")
        yield Event(event_id, EventType.DISCONNECTION, _CLIENT, at, offer_id=OfferId(left.offer))


def _decision_id(index: int) -> DecisionId:
    return DecisionId(f"decision-{index}")

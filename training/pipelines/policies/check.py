"""Are the rules sound? Faults that can be told from the rules alone, and what the data say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from recsys.decision.conditions.compile import ConditionSet
from recsys.decision.conditions.facts import Moment
from recsys.decision.engine import Engine
from recsys.decision.policy.check import check_policy
from recsys.decision.policy.logic import inline, reads_context
from recsys.decision.policy.policy import Policy
from recsys.decision.policy.read import PolicyFault
from recsys.decision.policy.walk import plain
from recsys.decision.rulebook import NO_RULE
from recsys.domain import ClientState
from training.pipelines.policies.sources import Clients, many, needed_catalogue, open_clients, open_policy
from training.runs import progress

_CLIENTS_PER_CHUNK = 2_000
_DOCUMENT = "engagement.yaml"
_OFF_SALE = ("stopped", "not_yet_live", "no_longer_live")


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What is wrong with a policy.

    Attributes:
        place: Its folder.
        version: Its version.
        n_rules: Rules.
        n_caps: Caps on volume and on contacts.
        faults: What makes it wrong, one line each with file, line and cure.
        warnings: What may be meant, one line each.
    """

    place: str
    version: str
    n_rules: int
    n_caps: int
    faults: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """The report as one JSON object."""
        return orjson.dumps(self).decode()

    def __str__(self) -> str:
        lines = [*self.faults, *(f"{line} (warning)" for line in self.warnings)]
        counts = f"{many(len(self.faults), 'fault')}, {many(len(self.warnings), 'warning')}"
        verdict = "sound" if not lines else counts
        n_items = f"{many(self.n_rules, 'rule')}, {many(self.n_caps, 'cap')}"
        return "\n".join([*lines, f"{self.place}: {n_items}, version {self.version}: {verdict}"])


def check(folder: Path, data: str | None = None, as_of: str | None = None) -> CheckReport:
    """Check a policy.

    Args:
        folder: The policy's folder; without data its ``catalogue.yaml`` says which offers there are.
        data: A dataset, to look also for offers without an eligible client and for rules that refuse nobody
            or everybody there.
        as_of: The moment at which its clients are looked at; None = when the last row became known.

    Raises:
        ConfigError: The policy cannot be read at all.
        DataError: The data cannot be read.
    """
    files = open_policy(folder)
    clients = None if data is None else open_clients(data, as_of)
    catalogue = needed_catalogue(folder, clients)
    now = datetime.now(UTC) if clients is None else clients.snapshot.as_of
    found = check_policy(files.policy, catalogue, files.examples, now)
    if clients is not None and not any(not fault.is_warning for fault in found):
        found += _from_data(files.policy, clients)
    engagement, contact = files.policy.engagement, files.policy.contact
    return CheckReport(
        place=str(folder),
        version=files.policy.version,
        n_rules=len(engagement.rules),
        n_caps=len(engagement.volume_caps) + len(contact.caps),
        faults=tuple(files.line(fault) for fault in found if not fault.is_warning),
        warnings=tuple(files.line(fault) for fault in found if fault.is_warning),
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    """What the rules do to some clients.

    Attributes:
        eligible: By position, how many clients may have the offer.
        first: By position, how often each rule (by number) was the first to refuse it.
        refused: By rule of the policy, how many clients it refuses, whatever others do.
        n_clients: How many clients there are.
    """

    eligible: NDArray[np.int64]
    first: list[Counter[int]]
    refused: NDArray[np.int64]
    n_clients: int


def _from_data(policy: Policy, clients: Clients) -> list[PolicyFault]:
    engine = Engine(clients.catalogue, policy, clients.zone)
    counts = _count(engine, clients)
    return [*_offers_without_clients(engine, counts), *_idle_rules(policy, counts)]


def _count(engine: Engine, clients: Clients) -> _Counts:
    states, n_offers = clients.snapshot.states, len(engine.catalogue)
    rules = engine.policy.engagement.rules
    conditions = ConditionSet(
        [rule.condition for rule in rules], engine.policy.engagement.segments, engine.catalogue
    )
    placement = next(iter(engine.placements))
    moment = Moment(clients.snapshot.as_of, placement=placement, zone=clients.zone)
    counts = _Counts(
        np.zeros(n_offers, np.int64),
        [Counter() for _ in range(n_offers)],
        np.zeros(len(rules), np.int64),
        len(states),
    )
    with progress("check", len(states)) as advance:
        for start in range(0, len(states), _CLIENTS_PER_CHUNK):
            chunk = states[start : start + _CLIENTS_PER_CHUNK]
            _add(counts, engine, conditions, chunk, moment)
            advance(len(chunk))
    return counts


def _add(
    counts: _Counts, engine: Engine, conditions: ConditionSet, states: Sequence[ClientState], moment: Moment
) -> None:
    numbers = engine.engagement.engage(states, moment).numbers
    counts.eligible[:] += (numbers == NO_RULE).sum(axis=0)
    for position, first in enumerate(counts.first):
        found, times = np.unique(numbers[:, position], return_counts=True)
        first.update(dict(zip(found.tolist(), times.tolist(), strict=True)))
    truth = conditions.evaluate(states, moment)
    for place, rule in enumerate(engine.policy.engagement.rules):
        hits, misses = truth.is_true[place], truth.is_false[place]
        if not rule.is_refused_when_true:
            hits, misses = misses, hits
        counts.refused[place] += np.count_nonzero(~misses if rule.is_refused_when_unknown else hits)


def _offers_without_clients(engine: Engine, counts: _Counts) -> Iterator[PolicyFault]:
    rules = [rule.id for rule in engine.policy.engagement.rules]
    for position in np.flatnonzero(counts.eligible == 0).tolist():
        offer_id = engine.catalogue.offer_ids[position]
        number, times = counts.first[position].most_common(1)[0]
        rule_id = engine.book[number].rule_id
        if rule_id in _OFF_SALE:
            continue
        message = (
            f"none of {counts.n_clients:,} clients may have {offer_id!r}: most are refused by {rule_id!r}"
            f" ({times:,}); relax it or stop the offer"
        )
        path = ("rules", rules.index(rule_id), "id") if rule_id in rules else ("rules",)
        yield PolicyFault(_DOCUMENT, path, message, is_warning=True)


def _idle_rules(policy: Policy, counts: _Counts) -> Iterator[PolicyFault]:
    segments = {name: plain(condition) for name, condition in policy.engagement.segments.items()}
    for place, (rule, n_refused) in enumerate(
        zip(policy.engagement.rules, counts.refused.tolist(), strict=True)
    ):
        # what depends on the moment too was looked at for one moment only
        depends_on_moment = reads_context(inline(plain(rule.condition), segments))
        if depends_on_moment or n_refused not in (0, counts.n_clients):
            continue
        whom = "none" if n_refused == 0 else "every one"
        message = (
            f"rule {rule.id!r} refuses {whom} of {counts.n_clients:,} clients; see whether that is meant"
        )
        yield PolicyFault(_DOCUMENT, ("rules", place, "id"), message, is_warning=True)

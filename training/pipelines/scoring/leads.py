"""``recsys-train score --leads``: whom an account manager should call, about what, and what it is worth.

expected value = P × margin a month: the model's probability (for a change that it does not estimate, the
prior that the policy states) times what the change brings. A lead is a candidate of the decision that a
server would take for the client at that moment: nothing is let through that a list would not show.

``--out`` holds ``leads.csv`` (for people), ``leads.parquet``, ``leads.json`` and ``run.json``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.constraints import BELOW_LEAST_PRIORITY, BoolArray
from recsys.decision.decide import Slate
from recsys.decision.proposals import CHANGES
from recsys.decision.situation import quantities_of
from recsys.domain import Change, Language
from recsys.errors import ConfigError, DataError
from recsys.models.base import IntArray
from training.pipelines.scoring.estimates import is_profiling_allowed
from training.pipelines.scoring.held_out import held_out_at
from training.pipelines.scoring.lead_choice import Choice, LeadLimits, Pairs, choose
from training.pipelines.scoring.lead_rows import lead_rows, manager_of, write_csv
from training.pipelines.scoring.open_applications import open_applications
from training.pipelines.scoring.rows import ESTIMATED
from training.pipelines.scoring.score import write_run
from training.pipelines.scoring.sources import Decided, Sources, asks_of, decided_chunks, open_sources
from training.runs import check_folder, progress

PROFILING_OFF = "profiling_off"
HELD_OUT = "held_out"
OPEN_APPLICATION = "open_application"
NOTHING_ALLOWED = "nothing_allowed"
NOTHING_GAINED = "nothing_gained"
OTHER_CHANGE = "other_change"
_ESTIMATED = [CHANGES.index(change) for change in ESTIMATED]


@dataclass(frozen=True, slots=True)
class Leads:
    """The list, and what became of everybody else.

    Attributes:
        as_of: The moment, in the dataset's time zone.
        time_zone: That time zone.
        placement: By whose rules offers were let through.
        policy: Version of the policy.
        bundle: Version of the models.
        target: What the model's probabilities are probabilities of.
        currency: ISO code of the amounts.
        capacity: How many leads there may be.
        n_leads: How many there are.
        n_estimated: Those of them whose probability is the model's.
        n_clients: Clients looked at.
        n_clients_eligible: Those with at least one pair that could be a lead.
        n_pairs_eligible: Such pairs of client and offer.
        value_minor: Σ expected value a month of the list, in minor units.
        stated_value_minor: The part of it that rests on priors stated in the policy, not on the model.
        random_value_minor: What n_estimated leads of clients drawn at random come to, one of each client's
            pairs with a model's probability drawn at random: n_estimated × mean over clients of the mean of
            those pairs.
        clients_out: Why → how many clients have no pair at all.
        pairs_out: Rule or reason → how many pairs it kept out, the most frequent first.
        limited: Limit → how many pairs of greater value than the last lead it kept out of the list.
        changes: Change → how many leads.
        rows: The leads, by descending value.
    """

    as_of: str
    time_zone: str
    placement: str
    policy: str
    bundle: str
    target: str
    currency: str
    capacity: int
    n_leads: int
    n_estimated: int
    n_clients: int
    n_clients_eligible: int
    n_pairs_eligible: int
    value_minor: int
    stated_value_minor: int
    random_value_minor: int
    clients_out: Mapping[str, int]
    pairs_out: Mapping[str, int]
    limited: Mapping[str, int]
    changes: Mapping[str, int]
    rows: pl.DataFrame

    @property
    def times_random(self) -> float | None:
        """What ordering is worth where the model ordered; None where no lead has its probability."""
        if not self.random_value_minor:
            return None
        return (self.value_minor - self.stated_value_minor) / self.random_value_minor

    def to_json(self) -> str:
        """Everything but the single leads, as one JSON object."""
        figures = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "rows"}
        return orjson.dumps(figures).decode()

    def write(self, out: Path) -> None:
        """Write the folder of results, but for ``run.json``; each file is whole or not there.

        Raises:
            DataError: The folder cannot be written.
        """
        try:
            out.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".parts-", dir=out) as work:
                fresh = Path(work)
                self.rows.write_parquet(fresh / "leads.parquet", compression="zstd")
                write_csv(self.rows, fresh / "leads.csv")
                (fresh / "leads.json").write_text(self.to_json() + "\n", encoding="utf-8")
                for file in sorted(fresh.iterdir()):
                    file.replace(out / file.name)
        except OSError as error:
            raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error


def find_leads(  # noqa: PLR0913 – the parameters of the command
    data: str,
    bundle: Path,
    policy: Path,
    out: Path,
    limits: LeadLimits,
    *,
    changes: Collection[Change] = (),
    as_of: str | None = None,
    placement: str | None = None,
    language: Language = Language.RU,
) -> Leads:
    """Find the pairs of client and offer that are worth the most.

    A client with profiling switched off is no lead, nor is one that is held out. An application that is
    neither activated nor declined is work in progress: it counts as an open lead of its client, and its offer
    is not proposed again.

    Args:
        data: A folder, or a database URL.
        bundle: A bundle, or a folder of bundles, whose newest counts.
        policy: Folder of the policy.
        out: Folder to write into; results that stand there are replaced.
        limits: How many leads there may be.
        changes: What a lead may propose; none = every change.
        as_of: Day or instant; None = when the last row became known, or the bundle's as_of if that is later.
        placement: By whose rules offers are let through; None = the policy's first placement.
        language: Language of titles and reasons.

    Raises:
        ConfigError: The policy, as_of or the placement is wrong, or the data name no margin or currency.
        DataError: The data cannot be read or are broken, or the folder cannot be written.
        LeakageError: The bundle knows what was recorded after as_of.
        BundleError: The bundle cannot be read.
    """
    check_folder(out)
    sources = open_sources(data, bundle, policy, as_of)
    if placement and "," in placement:
        raise ConfigError(f"--placement: {placement}: --leads takes one placement")
    (ask,) = asks_of(sources.engine, policy, [placement] if placement else [], 1)
    currency = _currency(data, sources)
    sieve = _Sieve(sources, limits, changes or CHANGES)
    with progress("leads", len(sources.client_ids)) as advance:
        for chunk in decided_chunks(sources, [ask], language):
            for decided in chunk:
                sieve.add(decided)
            advance(len(chunk))
    pairs = sieve.pairs()
    choice = choose(pairs, sieve.n_open, sieve.managers, limits, sources)
    _warn_of_nobodys(pairs, choice, sieve.managers, limits)
    leads = Leads(
        as_of=sources.local_as_of.isoformat(timespec="seconds"),
        time_zone=str(sources.engine.zone),
        placement=ask.placement_id,
        policy=sources.engine.policy.version,
        bundle=sources.bundle.version,
        target=sources.estimates.recommender.target.value,
        currency=currency,
        capacity=limits.capacity,
        n_leads=len(choice.places),
        n_estimated=_n_estimated(pairs, choice),
        n_clients=len(sources.client_ids),
        n_clients_eligible=len(np.unique(pairs.clients)),
        n_pairs_eligible=len(pairs),
        value_minor=round(float(pairs.values[choice.places].sum())),
        stated_value_minor=round(float((pairs.values * pairs.is_stated)[choice.places].sum())),
        random_value_minor=round(_n_estimated(pairs, choice) * _random_value(pairs)),
        clients_out=dict(sieve.clients_out.most_common()),
        pairs_out=sieve.pairs_out(),
        limited=choice.limited,
        changes=_changes(pairs, choice),
        rows=lead_rows(sources, pairs, choice, language, currency),
    )
    leads.write(out)
    asked = {"--data": data, "--bundle": bundle, "--policy": policy, "--out": out, "--leads": True}
    told = {"--placement": ask.placement_id, "--language": language.value}
    write_run(sources, out, {**asked, **told, **_bounds(limits, changes)})
    return leads


def _bounds(limits: LeadLimits, changes: Collection[Change]) -> dict[str, object]:
    """The options that bound the list, as `write_run` takes them."""
    return {
        "--capacity": limits.capacity,
        "--per-client": limits.per_client,
        "--per-manager": limits.per_manager,
        "--changes": ",".join(change.value for change in changes) or None,
    }


def _warn_of_nobodys(pairs: Pairs, choice: Choice, managers: Mapping[int, str], limits: LeadLimits) -> None:
    """Say on stderr how many leads a limit for each manager does not touch, for nobody knows theirs."""
    n = sum(client not in managers for client in pairs.clients[choice.places].tolist())
    if limits.per_manager and n:
        print(  # noqa: T201
            f"warning: --per-manager does not limit {n} of the {len(choice.places)} leads:"
            " their clients name no account manager (tag manager=…)",
            file=sys.stderr,
        )


def _currency(data: str, sources: Sources) -> str:
    has_margin = any(offer.margin_minor is not None for offer in sources.engine.catalogue.offers)
    if sources.currency is None or not has_margin:
        missing = "no margin_minor in offers" if sources.currency else "no currency in dataset.toml"
        raise ConfigError(f"{data}: has {missing}, and leads are ordered by money; add it")
    return sources.currency


class _Sieve:
    """Takes decisions one by one and keeps what could be a lead.

    Attributes:
        n_open: Client's number → applications that are open.
        managers: Client's number → its account manager, where one is known.
        clients_out: As in `Leads`.
    """

    def __init__(self, sources: Sources, limits: LeadLimits, changes: Collection[Change]) -> None:
        self._sources = sources
        self._per_client = limits.per_client
        self._is_wanted = np.array([change in changes for change in CHANGES], dtype=bool)
        self._open = open_applications(sources.dataset, sources.as_of)
        self._held_out = held_out_at(sources.dataset, sources.as_of)
        self._kept: list[Pairs] = []
        self._n_seen = 0
        self._n_refused = np.zeros(len(sources.engine.book), dtype=np.int64)
        self._n_left_out: Counter[str] = Counter()
        self.n_open: dict[int, int] = {}
        self.managers: dict[int, str] = {}
        self.clients_out: Counter[str] = Counter()

    def add(self, decided: Decided) -> None:
        """Look at the next client."""
        client, state = self._n_seen, decided.situation.state
        self._n_seen += 1
        open_ids = self._open.get(state.client_id, frozenset())
        if not is_profiling_allowed(state):
            self.clients_out[PROFILING_OFF] += 1
            return
        if self._held_out.has(state):
            self.clients_out[HELD_OUT] += 1
            return
        if len(open_ids) >= self._per_client:
            self.clients_out[OPEN_APPLICATION] += 1
            return
        if open_ids:
            self.n_open[client] = len(open_ids)
        if state.profile is not None and (manager := manager_of(state.profile.tags)):
            self.managers[client] = manager
        (slate,) = decided.decision.slates
        self._keep(decided, slate, client, self._let_through(slate, open_ids))

    def pairs(self) -> Pairs:
        """All that could be a lead."""
        return Pairs.joined(self._kept)

    def pairs_out(self) -> dict[str, int]:
        """As in `Leads`."""
        rule_ids = [rule_id for _, rule_id in self._sources.engine.book.labels]
        by_rule = Counter(dict(zip(rule_ids, self._n_refused.tolist(), strict=True)))
        return {name: count for name, count in (by_rule + self._n_left_out).most_common() if count}

    def _let_through(self, slate: Slate, open_ids: frozenset[str]) -> IntArray:
        """Positions that the rules and the work in progress leave.

        What bounds a list, its slots and its caps, bounds no lead.
        """
        engine, numbers = self._sources.engine, slate.verdicts.numbers
        is_weak = numbers[slate.candidates] == engine.book.number_of(BELOW_LEAST_PRIORITY)
        at = np.sort(slate.candidates[~is_weak])
        self._n_refused += np.bincount(np.delete(numbers, at), minlength=len(engine.book))
        if not len(at):
            self.clients_out[NOTHING_ALLOWED] += 1
        if open_ids:
            offer_ids = engine.catalogue.offer_ids
            is_open = np.array([offer_ids[position] in open_ids for position in at], dtype=bool)
            at = self._leave_out(at, is_open, OPEN_APPLICATION)
        return self._leave_out(at, ~self._is_wanted[slate.verdicts.changes[at]], OTHER_CHANGE)

    def _leave_out(self, at: IntArray, is_out: BoolArray, why: str) -> IntArray:
        """What is left; a client of whom nothing is left is counted under what took the last of it."""
        self._n_left_out[why] += int(is_out.sum())
        if len(at) and is_out.all():
            self.clients_out[why] += 1
        return at[~is_out]

    def _keep(self, decided: Decided, slate: Slate, client: int, at: IntArray) -> None:
        if not len(at):
            return
        engine, changes = self._sources.engine, slate.verdicts.changes
        estimated = decided.scored.estimates[decided.place].probabilities
        probabilities = engine.arbitration.probabilities(estimated, changes)
        quantities = quantities_of(decided.situation.state, engine.catalogue)
        margins = engine.arbitration.margins_minor(changes, quantities)
        at = self._leave_out(at, ~(margins[at] > 0), NOTHING_GAINED)  # an unknown margin is no gain either
        self._kept.append(
            Pairs(
                clients=np.full(len(at), client, dtype=np.int32),
                positions=at.astype(np.int32),
                changes=changes[at],
                probabilities=probabilities[at],
                margins=margins[at],
                quantities=_at_stake(engine.catalogue, quantities, at, changes[at]),
                is_stated=~np.isin(changes[at], _ESTIMATED),
            )
        )


def _at_stake(
    catalogue: CompiledCatalogue, quantities: IntArray, at: IntArray, changes: NDArray[np.int8]
) -> IntArray:
    """Units that the margins of a client's pairs are of: those held, those to be upgraded, or one."""
    units = np.ones(len(at), dtype=np.int64)
    for place, (position, code) in enumerate(zip(at.tolist(), changes.tolist(), strict=True)):
        if CHANGES[code] in (Change.RENEW, Change.RETAIN):
            units[place] = max(quantities[position], 1)
        elif CHANGES[code] is Change.UPGRADE:
            former = [catalogue.positions[name] for name, to in catalogue.upgrades.items() if to == position]
            units[place] = max(quantities[former].sum(), 1)
    return units


def _n_estimated(pairs: Pairs, choice: Choice) -> int:
    return int((~pairs.is_stated)[choice.places].sum())


def _random_value(pairs: Pairs) -> float:
    """Mean over clients of the mean value of their pairs with a model's probability; 0 without any."""
    is_drawn = ~pairs.is_stated
    if not is_drawn.any():
        return 0.0
    sums = np.bincount(pairs.clients[is_drawn], weights=pairs.values[is_drawn])
    sizes = np.bincount(pairs.clients[is_drawn])
    return float((sums[sizes > 0] / sizes[sizes > 0]).mean())


def _changes(pairs: Pairs, choice: Choice) -> dict[str, int]:
    counts = Counter(CHANGES[code].value for code in pairs.changes[choice.places].tolist())
    return dict(counts.most_common())

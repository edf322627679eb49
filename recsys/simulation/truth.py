"""The truth behind a world, for tests: what would happen, shown or not, and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from recsys.domain import Change
from recsys.simulation.aftersales import CHANGES, EXPAND, NO_CHANGE, amended, expected_gains
from recsys.simulation.behaviour import Chances
from recsys.simulation.catalogue import Catalogue
from recsys.simulation.clients import ROLES, FloatArray, IntArray
from recsys.simulation.occasions import Offered, possible_changes, true_offers, true_wants
from recsys.simulation.operator import Moment, Operator
from recsys.simulation.outcomes import giving_up_chances, role_confirmation
from recsys.simulation.policies import LoggingPolicies
from recsys.simulation.settling import blocks
from recsys.simulation.timeline import DAY, to_datetime
from recsys.simulation.visits import seen_chances, trust_by_slot, visit_chances
from recsys.simulation.world import World
from recsys.simulation.worth import HORIZON_MONTHS, Worth

_MIDDLE_OF_THE_VISITS = 14 * DAY


@dataclass(frozen=True, slots=True)
class Context:
    """Under which circumstances an offer is seen.

    Attributes:
        role: Role of the member who sees it; one of `ROLES`.
        slot: 1-based slot.
    """

    role: str = "administrator"
    slot: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What is true of one client, offer, change, context and month.

    Of a retention the outcome is that the client accepts it and so binds itself for some months; what that
    does to the service itself is `Keeping`.

    Attributes:
        acceptance: P(activation within 30 days | seen in that context), 0–1.
        adoption: P(the change happens within the month | not seen), 0–1; 0 of a retention.
        margin: Margin expected within the horizon once the change is made, beyond that of what it changes or
            replaces, whole units of the currency; it grows with the seats. See `recsys.simulation.worth`.
    """

    acceptance: float
    adoption: float
    margin: float

    @property
    def gain(self) -> float:
        """Margin expected of showing the offer, beyond what comes without."""
        return (self.acceptance - self.adoption) * self.margin


@dataclass(frozen=True, slots=True)
class Keeping:
    """Whether a service that is held is still held when the month ends.

    Exact unless something that rests on the service, or replaces it, is connected in that very month.

    Attributes:
        shown: P(it is not given up within the month | the retention is seen in that context), 0–1.
        unshown: P(it is not given up within the month | not seen), 0–1.
    """

    shown: float
    unshown: float


class TruthAt:
    """The truth when a month begins, in the life that the logging policies led.

    Attributes:
        client_ids: Rows of the arrays.
        offer_ids: Columns of the arrays.
        chances: The probabilities, clients_by_offers; fatigue by what was shown so far counts.
        moment: Where everybody stands.
    """

    def __init__(self, operator: Operator, moment: Moment, horizon_months: int) -> None:
        self.client_ids = client_ids(operator)
        self.offer_ids = operator.shelf.offer_ids
        self.moment = moment
        self.chances = dense_chances(operator, moment)
        self._operator = operator
        self._worth = Worth(operator.world, operator.shelf, operator.clients, horizon_months)
        self._rows = {client_id: row for row, client_id in enumerate(self.client_ids)}
        self._columns = {offer_id: column for column, offer_id in enumerate(self.offer_ids)}

    def answer(
        self, client_id: str, offer_id: str, change: Change = Change.NEW, context: Context | None = None
    ) -> Answer:
        """What is true of one client, offer and change.

        Args:
            client_id: The client.
            offer_id: The offer; of an upgrade, the higher edition.
            change: What taking the offer would change; zero probability where it is not possible.
            context: Circumstances of seeing it; by default by an administrator at the first slot.

        Raises:
            KeyError: There is no such client or offer.
            ValueError: The context does not exist.
        """
        row, column = self._rows[client_id], self._columns[offer_id]
        persuasion = self._persuasion(context or Context())
        if change not in (Change.NEW, Change.UPGRADE):
            return self._of_service(row, column, CHANGES.index(change), persuasion)
        allowed = self.moment.allowed
        is_possible = bool((allowed.new if change is Change.NEW else allowed.upgrade)[row, column])
        adoption = float(self.chances.adoption[row, column]) if is_possible else 0.0
        lift = float(self.chances.lift[row, column]) if is_possible else 0.0
        margin = self._connected(row, column) - self._replaced(row, column, change)
        return Answer(adoption + persuasion * lift, adoption, margin)

    def offered(self) -> Offered:
        """What is true of every client and offer at once, seen at the first slot by whoever sees it."""
        return true_offers(self._operator, self.moment)

    def keeping(self, client_id: str, offer_id: str, context: Context | None = None) -> Keeping:
        """What seeing a retention does to a service; nothing where none may be offered.

        ``1 - c (1 - p)(1 - s)`` with c the chance that it is given up unless changed, p that the retention is
        accepted (unshown: that the term is renewed) and s that seats are changed.

        Raises:
            KeyError: There is no such client or offer.
            ValueError: The context does not exist, or the client does not have the service.
        """
        row, column = self._rows[client_id], self._columns[offer_id]
        if not self.moment.ready[row, column]:
            raise ValueError(f"{client_id} does not have {offer_id} when the month begins")
        accepted = self.answer(client_id, offer_id, Change.RETAIN, context).acceptance
        given_up = giving_up_chances(self._operator, self.moment, np.array([row]))[0, column]
        services, place = self.moment.services, self._place(row, column)
        unchanged = 1.0
        if place >= 0:
            unchanged = float((1 - services.renewal[place]) * (1 - services.adjustment[place]))
        risk = float(given_up) * unchanged
        return Keeping(shown=1 - risk * (1 - accepted), unshown=1 - risk)

    def _of_service(self, row: int, column: int, change: int, persuasion: float) -> Answer:
        services, place = self.moment.services, self._place(row, column)
        if place < 0:
            return Answer(0.0, 0.0, 0.0)
        one = services.take(np.array([place]))
        changes = np.array([change])
        adoption = float(one.unshown(changes)[0])
        is_offered = int(one.changes[0]) == change
        lift = float(one.lift[0]) if is_offered else 0.0
        after = amended(self._operator, self.moment, one, changes)
        margin = float(expected_gains(self.moment.number, one, after, self._worth)[0])
        is_possible = is_offered or adoption > 0
        return Answer(adoption + persuasion * lift, adoption, margin if is_possible else 0.0)

    def _place(self, row: int, column: int) -> int:
        key = self._operator.terms.keys(np.array([row]), np.array([column]))
        return int(self.moment.services.find(key)[0])

    def _persuasion(self, context: Context) -> float:
        portal = self._operator.world.portal
        if context.role not in ROLES or not 1 <= context.slot <= portal.k:
            raise ValueError(f"context is {context}, must name a role of {ROLES} and a slot of 1–{portal.k}")
        trust = portal.trust[context.slot - 1] if portal.trust else 1.0
        return trust * float(role_confirmation(self._operator)[ROLES.index(context.role)])

    def _replaced(self, row: int, column: int, change: Change) -> float:
        if change is Change.NEW:
            return 0.0
        lower = [one for one, higher in self._operator.shelf.upgrades if higher == column]
        held = [one for one in lower if self.moment.held[row, one]]
        seats = self._operator.book.quantity[row, held].astype(np.int64)
        return float(self._worth.of_connections(np.array(held, dtype=np.int64), seats).sum())

    def _connected(self, row: int, column: int) -> float:
        at = np.array([row]), np.array([column])
        quantity = self._operator.terms.quantity(*at, self._operator.course.scale[at[0]])
        return float(self._worth.of_connections(at[1], quantity)[0])


class Truth:
    """The truth of a world, month by month.

    Args:
        world: The parameters; see `recsys.simulation.world.check_world`.
        catalogue: What can be connected.
        horizon_months: Months over which a margin counts.
    """

    def __init__(self, world: World, catalogue: Catalogue, horizon_months: int = HORIZON_MONTHS) -> None:
        self._world = world
        self._catalogue = catalogue
        self._horizon_months = horizon_months
        self._operator = Operator(world, catalogue)

    def at(self, month: int) -> TruthAt:
        """The truth when a 0-based month begins; ask in rising order, else the world lives again.

        Raises:
            ValueError: The world has no such month.
        """
        operator = self._live_to(month)
        here = operator.fork()
        return TruthAt(here, here.begin(), self._horizon_months)

    def adoption_within(self, cut: datetime, horizon_days: int, n_paths: int = 8) -> FloatArray:
        """True P(first held within a horizon | everything at the cut), clients_by_offers.

        ``E Σ_months h`` over futures that could be, where h is the true chance of the month for a client that
        never had the offer: own wish and calls, and what the logging policy's lists are expected to add
        (`recsys.simulation.lists.slot_probabilities`). Averaging chances instead of counting what happened
        leaves little to chance: the paths differ only by stages, holdings and dismissals. What is on its way
        at the cut has probability 1; of the last month, the part within the horizon counts.

        Args:
            cut: The first instant of a month, aware.
            horizon_days: Length of the horizon, days.
            n_paths: Number of futures.

        Raises:
            ValueError: The cut is no month's beginning, or the horizon ends after the world.
        """
        instant, bounds = _instant(cut), self._operator.timeline.bounds
        month = int(np.searchsorted(bounds, instant))
        ends_at = instant + horizon_days * DAY
        if month >= len(bounds) - 1 or bounds[month] != instant or ends_at > bounds[-1]:
            raise ValueError(
                f"cut {cut.isoformat()} begins no month, or the world ends within {horizon_days} days of it"
            )
        operator = self._live_to(month)
        had, on_its_way = operator.book.had.copy(), operator.book.held & ~operator.book.ready(instant)
        paths = [_hazard(operator.fork(path=path), ends_at) for path in range(1, n_paths + 1)]
        mean = np.minimum(np.mean(paths, axis=0), 1.0)
        return np.where(on_its_way, 1.0, np.where(had, 0.0, mean))

    @property
    def client_ids(self) -> tuple[str, ...]:
        """Rows of the arrays."""
        return client_ids(self._operator)

    @property
    def offer_ids(self) -> tuple[str, ...]:
        """Columns of the arrays."""
        return self._operator.shelf.offer_ids

    def starts_at(self, month: int) -> datetime:
        """First instant of a 0-based month, aware UTC."""
        return to_datetime(int(self._operator.timeline.bounds[month]))

    def _live_to(self, month: int) -> Operator:
        if not 0 <= month < self._operator.timeline.n_months:
            raise ValueError(f"month is {month}, must be 0–{self._operator.timeline.n_months - 1}")
        if self._operator.month > month:
            self._operator = Operator(self._world, self._catalogue)
        while self._operator.month < month:
            self._operator.finish(self._operator.begin())
        return self._operator


def client_ids(operator: Operator) -> tuple[str, ...]:
    """Ids of all clients, by row."""
    return tuple(f"c{row:07d}" for row in range(len(operator.clients)))


def dense_chances(operator: Operator, moment: Moment) -> Chances:
    """The probabilities of a month for every client, clients_by_offers."""
    parts = [operator.chances(moment, rows) for rows in blocks(len(operator.clients))]
    return Chances(
        own=np.concatenate([part.own for part in parts]),
        call=np.concatenate([part.call for part in parts]),
        lift=np.concatenate([part.lift for part in parts]),
    )


def _instant(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000_000


def _hazard(operator: Operator, ends_at: int) -> FloatArray:
    """Sum over the months to come of the true chance of a first adoption, clients_by_offers."""
    total = np.zeros(operator.permitted.shape)
    while True:
        moment = operator.begin()
        first, after = (int(bound) for bound in operator.timeline.bounds[moment.number :][:2])
        part = min(1.0, (ends_at - first) / (after - first))
        for rows in blocks(len(total)):
            is_first = ~operator.book.had[rows]
            total[rows] += part * is_first * _expected_chance(operator, moment, rows)
        if after >= ends_at:
            return total
        operator.finish(moment)


def _expected_chance(operator: Operator, moment: Moment, rows: IntArray) -> FloatArray:
    """P(adoption within a month) before it is known who visits and what is shown, rows_by_offers."""
    world, chances = operator.world, operator.chances(moment, rows)
    policies = LoggingPolicies(world)
    policy = policies.in_month(moment.number)
    at = np.full(len(rows), int(operator.timeline.bounds[moment.number]) + _MIDDLE_OF_THE_VISITS)
    changes = possible_changes(moment, rows)
    eligible = (changes != NO_CHANGE) & ~operator.book.is_silenced(rows, at)
    wants = true_wants(operator, moment, rows) if policy.confounding else None
    priority = policies.priority(policy, operator.popularity(moment), wants)
    slots = policies.expected_slots(policy, priority, eligible & (changes < EXPAND))
    mixed = np.flatnonzero((eligible & (changes >= EXPAND)).any(axis=1))
    if len(mixed):
        own = priority[mixed] if len(priority) > 1 else priority
        share = world.aftersales.share
        with_changes = policies.expected_slots(policy, own, eligible[mixed])
        slots[:, mixed] += share * (with_changes - slots[:, mixed])
    visit = visit_chances(world.portal, operator.clients, moment.is_active)[rows]
    visit = np.where(operator.book.has_open_complaint(rows, at), 0.0, visit)
    weight = _attention(operator)[rows] * trust_by_slot(world.portal)
    shown = np.einsum("jro,rj->ro", slots, weight * visit[:, None])
    expected: FloatArray = chances.adoption + shown * chances.lift
    return expected


def _attention(operator: Operator) -> FloatArray:
    """Mean over a client's members of P(a slot is seen) P(confirmed), clients_by_slots."""
    members = operator.members
    effect = seen_chances(operator.world.portal, members.attention)
    effect = effect * role_confirmation(operator)[members.roles][:, None]
    counts = np.diff(members.first)[:, None]
    means: FloatArray = np.add.reduceat(effect, members.first[:-1], axis=0) / counts
    return means

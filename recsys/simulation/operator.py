"""The made-up operator, month by month: catalogue → clients → behaviour → what is logged."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from recsys.simulation.aftersales import (
    EXPAND,
    NO_CHANGE,
    Services,
    draw_revisions,
    find_services,
    no_services,
)
from recsys.simulation.behaviour import Behaviour, Chances, Situation
from recsys.simulation.book import Adoptions, Book, Endings, Revisions
from recsys.simulation.catalogue import Catalogue
from recsys.simulation.clients import BoolArray, FloatArray, IntArray, make_clients, make_members
from recsys.simulation.market import Market
from recsys.simulation.months import (
    Figures,
    Usage,
    advance_course,
    begin_course,
    bring_back,
    draw_figures,
    end_contracts,
    is_january,
    stages_at,
)
from recsys.simulation.occasions import make_occasion, possible_changes
from recsys.simulation.outcomes import (
    Complaints,
    Reports,
    draw_adoptions,
    draw_complaints,
    draw_endings,
    draw_reports,
)
from recsys.simulation.policies import Chooser, LoggingPolicies
from recsys.simulation.rules import Allowed, allowed_offers, make_shelf, permitted_offers
from recsys.simulation.settling import settle
from recsys.simulation.streams import Purpose, Streams, uniform_of
from recsys.simulation.terms import Terms
from recsys.simulation.timeline import DAY, make_timeline
from recsys.simulation.visits import (
    Reactions,
    Visits,
    complaint_at,
    draw_reactions,
    draw_visitors,
    impression_at,
    no_reactions,
    seen_chances,
    visit_chances,
)
from recsys.simulation.world import World
from recsys.simulation.worth import Worth

ACCEPTANCE_DAYS = 30
_PLACE_OF_CHANGES = 64


@dataclass(frozen=True, slots=True)
class Moment:
    """Where everybody stands when a month begins.

    Attributes:
        number: 0-based month.
        is_active: Who has a contract during the whole month, shape (n_clients,).
        stages: Lifecycle stages, positions in `STAGES`.
        ready: What clients have, clients_by_offers.
        held: What they have, or have on its way.
        allowed: What they may connect in the month.
        services: What of what they have may change in it.
    """

    number: int
    is_active: BoolArray
    stages: IntArray
    ready: BoolArray
    held: BoolArray
    allowed: Allowed
    services: Services


@dataclass(frozen=True, slots=True)
class Taken:
    """Activations of what was shown, one row each.

    Attributes:
        visits: Row of the month's visits.
        slots: 0-based slot.
        at: When.
    """

    visits: IntArray
    slots: IntArray
    at: IntArray


@dataclass(frozen=True, slots=True)
class Month:
    """Everything that happened in a month.

    Attributes:
        moment: Where everybody stood when it began.
        is_gone: Whose profile is closed, because the contract ended long ago.
        visits: Visits and their lists.
        acceptance: P(activation within 30 days | seen) of every slot, visits_by_slots; 0 if empty.
        reactions: To seen offers that are not taken.
        adoptions: Drawn in this month; a shown offer may be connected in the next.
        endings: Services given up.
        revisions: Terms renewed or extended and seats changed.
        complaints: Of partners that misbehave.
        reports: New figures of staff and revenue.
        figures: The month's figures.
    """

    moment: Moment
    is_gone: BoolArray
    visits: Visits
    acceptance: FloatArray
    reactions: Reactions
    adoptions: Adoptions
    endings: Endings
    revisions: Revisions
    complaints: Complaints
    reports: Reports
    figures: Figures

    @property
    def number(self) -> int:
        """0-based month."""
        return self.moment.number

    @property
    def taken(self) -> Taken:
        """What was connected or changed because it was shown."""
        parts = [
            (part.visits[shown], part.slots[shown], part.at[shown])
            for part in (self.adoptions, self.revisions)
            for shown in [part.visits >= 0]
        ]
        return Taken(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class Operator:
    """A simulated operator; the same world, catalogue and policies live the same life.

    Args:
        world: The parameters; see `recsys.simulation.world.check_world`.
        catalogue: What can be connected.
        chooser: Who fills the lists; None = the world's logging policies.
    """

    def __init__(self, world: World, catalogue: Catalogue, chooser: Chooser | None = None) -> None:
        self.world = world
        self.streams = Streams(world.seed)
        self.timeline = make_timeline(world.starts_on, world.n_months, world.time_zone)
        self.shelf = make_shelf(catalogue, world)
        self.market = Market(catalogue, world, self.timeline)
        self.clients = make_clients(world, self.timeline, self.streams.rng(Purpose.CLIENTS))
        self.members = make_members(
            self.clients, world.portal.attention_spread, self.streams.rng(Purpose.MEMBERS)
        )
        self.terms = Terms(world, self.shelf, self.clients, self.streams)
        self.behaviour = Behaviour(world, self.shelf, self.clients, self.streams)
        self.chooser = LoggingPolicies(world) if chooser is None else chooser
        self.permitted = permitted_offers(self.shelf, self.clients)
        self.worth = Worth(world, self.shelf, self.clients)
        self.course = begin_course(len(self.clients))
        self.book = Book(*self.permitted.shape)
        self.month = 0
        self._is_device = np.array([offer.category == world.device_category for offer in catalogue.offers])
        self.initial, self.initial_revisions = settle(self)

    def fork(self, chooser: Chooser | None = None, path: int = 0) -> Operator:
        """A copy that lives on from here by itself.

        Args:
            chooser: Who fills the lists from here on; None = whoever did.
            path: 0 = with the same luck; any other number = another future that could have been.
        """
        other = copy.copy(self)
        other.book = self.book.fork()
        other.behaviour = self.behaviour.fork()
        other.chooser = self.chooser if chooser is None else chooser
        if path:
            other.streams = self.streams.other_path(path)
            other.behaviour.redraw_drift(self.month, other.streams)
        return other

    def months(self) -> Iterator[Month]:
        """Live one month after the other, to the end of the world."""
        while self.month < self.timeline.n_months:
            yield self.finish(self.begin())

    def begin(self) -> Moment:
        """Begin the month: contracts come and go, and what may be connected is known."""
        number, life = self.month, self.world.life
        begins_at, ends_at = self._bounds()
        if number > 0:
            self.behaviour.reprice(self.market.prices_in(number - 1), self.market.prices_in(number))
        rng = self.streams.rng(Purpose.COURSE, number)
        course = advance_course(self.course, self.clients, life, rng)
        course = bring_back(course, life.come_back, begins_at, rng)
        stages = stages_at(course, self.clients, begins_at)
        has_contract = (self.clients.joined_at <= begins_at) & (course.ended_at > begins_at)
        ready = self.book.ready(begins_at)
        waits = (self.book.held & ~ready).any(axis=1)
        leaving = self.streams.rng(Purpose.LEAVING, number)
        self.course = end_contracts(course, life, has_contract & ~waits, (begins_at, ends_at), leaving)
        is_active = has_contract & (self.course.ended_at >= ends_at)
        open_offers = self.permitted & is_active[:, None] & self.market.is_on_sale(number)
        held = self.book.held.copy()
        may_switch = self.world.appetite.switching > 0
        allowed = allowed_offers(self.shelf, held, ready, open_offers, may_switch=may_switch)
        moment = Moment(number, is_active, stages, ready, held, allowed, no_services())
        return replace(moment, services=find_services(self, moment))

    def situation(self, moment: Moment, rows: IntArray) -> Situation:
        """What decides about the wants of some clients in a month."""
        allowed, held = moment.allowed, moment.held[rows]
        is_bound = held & (self.book.term[rows] > moment.number)
        return Situation(
            rows=rows,
            stages=moment.stages[rows],
            held=held,
            allowed=Allowed(allowed.new[rows], allowed.upgrade[rows], allowed.switch[rows]),
            is_locked=is_bound.astype(np.float32) @ self.shelf.rivals.astype(np.float32) > 0,
            quantity=self.book.quantity[rows].astype(np.int64),
            n_seen=self.book.n_seen[rows].astype(np.float64),
        )

    def chances(self, moment: Moment, rows: IntArray) -> Chances:
        """The true probabilities of a month for some clients, rows_by_offers."""
        return self.behaviour.chances(self.situation(moment, rows), moment.number, self.calendar(moment))

    def calendar(self, moment: Moment) -> float:
        """The month's factor of all adoption."""
        month = self.world.starts_on.month - 1 + moment.number
        return self.world.appetite.calendar[month % 12]

    def popularity(self, moment: Moment) -> FloatArray:
        """Holders of each offer per thousand clients with a contract."""
        holders = moment.ready[moment.is_active].sum(axis=0)
        per_thousand: FloatArray = 1000 * holders / max(int(moment.is_active.sum()), 1)
        return per_thousand

    def finish(self, moment: Moment) -> Month:
        """Live the month that `begin` began."""
        visits = self._draw_visits(moment)
        adoptions, acceptance, is_applied = draw_adoptions(self, moment, visits)
        care = draw_revisions(self, moment, visits, adoptions)
        self._remember(visits)
        self.book.connect(adoptions)
        endings = draw_endings(self, moment, visits, care.revisions)
        self.book.end(endings)
        self.book.revise(care.revisions)
        month = Month(
            moment=moment,
            is_gone=self._is_gone(),
            visits=visits,
            acceptance=acceptance + care.acceptance,
            reactions=no_reactions(is_applied | care.is_applied),
            adoptions=adoptions,
            endings=endings,
            revisions=care.revisions,
            complaints=draw_complaints(self, moment, adoptions),
            reports=draw_reports(self, moment),
            figures=self._draw_figures(moment),
        )
        month = replace(month, reactions=self._draw_reactions(month))
        self._open_complaints(month)
        self.month += 1
        return month

    def _bounds(self) -> tuple[int, int]:
        begins_at, ends_at = self.timeline.bounds[self.month : self.month + 2]
        return int(begins_at), int(ends_at)

    def _is_gone(self) -> BoolArray:
        closing = self.world.life.closing_months
        if closing == 0:
            return np.zeros(len(self.clients), dtype=bool)
        return self.course.n_months_gone > closing

    def _draw_visits(self, moment: Moment) -> Visits:
        portal, number = self.world.portal, moment.number
        begins_at, _ = self._bounds()
        chances = visit_chances(portal, self.clients, moment.is_active)
        rng = self.streams.rng(Purpose.VISITS, number)
        visitors = draw_visitors(chances, self.members, begins_at, rng)
        visitors = visitors.take(~self.book.has_open_complaint(visitors.rows, visitors.at))
        rows = visitors.rows
        changes = possible_changes(moment, rows)
        # Another place of the list's own sequence than those of its slots.
        is_open = uniform_of(visitors.seeds, _PLACE_OF_CHANGES) < self.world.aftersales.share
        eligible = (changes != NO_CHANGE) & ((changes < EXPAND) | is_open[:, None])
        eligible &= ~self.book.is_silenced(rows, visitors.at)
        choice = self.chooser(make_occasion(self, moment, visitors, eligible))
        luck = self.streams.rng(Purpose.ATTENTION, number).random((len(self.clients), portal.k))[rows]
        seen = seen_chances(portal, self.members.attention[visitors.members])
        offers = choice.lists.offers
        return Visits(
            rows=rows,
            members=visitors.members,
            at=visitors.at,
            seeds=visitors.seeds,
            policies=choice.policies,
            is_personalised=choice.is_personalised,
            eligible=eligible,
            changes=changes,
            priority=choice.priority,
            offers=offers,
            logging_probability=choice.lists.probabilities,
            is_seen=(luck < seen) & (offers >= 0),
        )

    def _remember(self, visits: Visits) -> None:
        self.book.forget(self.world.portal.recovery)
        visit, slot = np.nonzero(visits.is_seen)
        at = impression_at(visits.at[visit], slot)
        self.book.remember(visits.rows[visit], visits.offers[visit, slot], at)

    def _draw_reactions(self, month: Month) -> Reactions:
        visits, is_applied = month.visits, month.reactions.is_applied
        is_left = visits.is_seen & ~is_applied
        is_left[month.taken.visits, month.taken.slots] = False
        shape = (len(self.clients), self.world.portal.k, 6)
        luck = self.streams.rng(Purpose.REACTIONS, self.month).random(shape)[visits.rows]
        thrift = self.clients.traits.thrift[visits.rows]
        reactions = draw_reactions(self.world.portal, is_left, thrift, luck)
        visit, slot = np.nonzero(reactions.reasons >= 0)
        until = visits.at[visit] + self.world.portal.dismissal_days * DAY
        self.book.silence(visits.rows[visit], visits.offers[visit, slot], until)
        return replace(reactions, is_applied=is_applied)

    def _open_complaints(self, month: Month) -> None:
        """Complaints of the month are open, and silence lists, until they are settled."""
        visit, slot = np.nonzero(month.reactions.topics >= 0)
        rows = np.concatenate([month.visits.rows[visit], month.complaints.rows])
        at = np.concatenate([complaint_at(month.visits.at[visit], slot), month.complaints.at])
        self.book.complain(rows, at, at + self.world.portal.complaint_days * DAY)

    def _draw_figures(self, moment: Moment) -> Figures:
        clients = self.clients
        prices = self.market.prices_in(moment.number).recurring_minor
        rows, offers = np.nonzero(self.book.held)
        price = prices[offers, clients.regions[rows], clients.sizes[rows]]
        services = np.bincount(rows, weights=price, minlength=len(clients)).astype(np.int64)
        begins_at, _ = self._bounds()
        usage = Usage(
            is_active=(clients.joined_at <= begins_at) & (self.course.ended_at > begins_at),
            has_devices=(self.book.held & self._is_device).any(axis=1),
            services_minor=services,
        )
        is_low = is_january(self.timeline, moment.number)
        rng = self.streams.rng(Purpose.FIGURES, moment.number)
        return draw_figures(self.course, clients, usage, is_january=is_low, rng=rng)

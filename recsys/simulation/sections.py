"""The sections of a world's file: what each figure of it means."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, PositiveFloat

from recsys.config import RunConfig

Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=0)]
Sections = Annotated[str, Field(pattern="^[A-S]*$")]

_CALENDAR = (1.0,) * 12


class Form(RunConfig):
    """A legal form.

    Attributes:
        share: Relative frequency.
        staff: Median number of people employed.
        spread: Standard deviation of the logarithm of that number.
        industries: OKVED sections it is found in; empty = every one.
    """

    share: Factor
    staff: PositiveFloat
    spread: Factor
    industries: Sections = ""


class Industry(RunConfig):
    """An OKVED section.

    Attributes:
        share: Relative frequency.
        revenue: Median yearly revenue for one person employed, millions of the currency.
        digital: Shift of digital maturity, in standard deviations.
        mobility: Shift of the share of work done on the road, in standard deviations.
    """

    share: Factor
    revenue: PositiveFloat
    digital: float = 0.0
    mobility: float = 0.0


class Population(RunConfig):
    """Shares of clients.

    Attributes:
        new: Contract begins during the simulated months.
        prospects: No contract at all.
        staff_unknown: Number of people employed is not reported.
        revenue_unknown: Revenue is not reported.
        profiling_off: Profiling is switched off.
        vip: VIP status, among the highest spenders.
        grouped: Belongs to an account group.
        group_taste: Correlation of tastes within an account group, whose owner decides for all of it.
        tail_from: Number of people employed from which on the tail is a Pareto tail; 0 = no such tail.
        tail_index: Its index: ``P(staff > x | staff > tail_from) = (x / tail_from)^-tail_index``, cut off
            at 100,000 people.
        spend_spread: Standard deviation of the logarithm of a client's lasting spend for one SIM card.
        reports: Monthly probability that new figures of staff and revenue are reported, so that the
            profile gets a new version.
    """

    new: Share
    prospects: Share
    staff_unknown: Share
    revenue_unknown: Share
    profiling_off: Share
    vip: Share
    grouped: Share
    group_taste: Share = 0.0
    tail_from: Factor = 0.0
    tail_index: PositiveFloat = 1.5
    spend_spread: Factor = 0.0
    reports: Share = 0.0


class Life(RunConfig):
    """Monthly probabilities of a client's course.

    Attributes:
        expand: A calm client begins to grow (times twice its growth trait).
        shrink: A calm client begins to shrink.
        fall_silent: A calm client stops using its SIM cards.
        settle: A growing or shrinking client becomes calm.
        wake: A silent client comes back.
        leave: Any client ends its contract.
        leave_in_trouble: A shrinking or silent client ends its contract.
        pace_up: Monthly growth while growing.
        pace_down: Monthly loss while shrinking.
        come_back: A client whose contract ended begins a new one.
        closing_months: For how many months the profile of a client whose contract ended stays valid; 0 =
            without end.
    """

    expand: Share
    shrink: Share
    fall_silent: Share
    settle: Share
    wake: Share
    leave: Share
    leave_in_trouble: Share
    pace_up: Share
    pace_down: Share
    come_back: Share = 0.0
    closing_months: int = Field(default=0, ge=0, le=120)


class Confirmed(RunConfig):
    """P(an application becomes an activation) by the role of the member who applied.

    Attributes:
        administrator: Of an administrator, who may connect.
        finance: Of a member who pays.
        employee: Of an employee, who must ask.
    """

    administrator: Share = 1.0
    finance: Share = 1.0
    employee: Share = 1.0


class Portal(RunConfig):
    """How the portal is used.

    Attributes:
        placement: The place whose lists are logged.
        k: Length of a list.
        visit: Monthly probability of a visit of a client of middling digital maturity.
        seen: Probability that each slot of a list is really seen, first slot first.
        click: Probability of a click on a seen offer that is not taken.
        dismissal: Probability that a seen offer is put aside.
        dismissal_days: For how long an offer put aside is not shown.
        complaint: Probability that a seen offer leads to a complaint.
        trust: Factor of the response to an offer by its slot, first slot first: people believe what stands
            above; empty = 1 everywhere.
        attention_spread: Standard deviation of the logarithm of a member's attention, a factor of `seen`
            with mean 1.
        fatigue: Part of the response that each earlier impression of the same offer takes away.
        recovery: Part of the earlier impressions that is forgotten in a month.
        confirmed: P(an application becomes an activation) by role.
        delay_days: Scale of the time from impression to activation, days; never more than 29.
        complaint_days: How long a complaint stays open; until it is settled its client gets no lists.
    """

    placement: str
    k: int = Field(ge=1, le=20)
    visit: Share
    seen: tuple[Share, ...]
    click: Share
    dismissal: Share
    dismissal_days: int = Field(ge=0)
    complaint: Share
    trust: tuple[Share, ...] = ()
    attention_spread: Factor = 0.0
    fatigue: Share = 0.0
    recovery: Share = 0.3
    confirmed: Confirmed = Confirmed()
    delay_days: PositiveFloat = 6.0
    complaint_days: int = Field(default=21, ge=0, le=365)


class Appetite(RunConfig):
    """How wants become connections.

    Attributes:
        organic: Monthly rate of adoption by the client's own wish, for an attraction of 1.
        organic_limit: The probability that anything is adopted in a month by own wish stays below.
        response: Rate of application after being shown, for an attraction of 1.
        response_limit: The probability by which being shown raises adoption stays below.
        initial_rounds: Chances to adopt before the first simulated month, for a very old client.
        initial: Rate of adoption in such a round, for an attraction of 1.
        disconnection: Monthly probability that a service in use is given up.
        disconnection_in_trouble: The same for a shrinking or silent client.
        off_industry: Factor outside the industries an offer is made for.
        staff_width: Width of the fall-off beyond the staff range of an offer, in natural logarithms.
        taste: Standard deviation of the logarithm of a client's personal taste for a category.
        whim: The same for a single need.
        substitute: Factor while another offer of the same need is held.
        budget: Monthly budget of one more person employed, whole units of the currency.
        response_power: Exponent of attraction in the response to being shown; below 1, offers that are
            hardly wanted gain more by being shown than by own wish.
        choice: Sharpness of the choice within a need group; 1 = in proportion to attraction, higher = the
            most attractive offer takes more of the need.
        switching: Factor of the own wish for an offer whose exclusive slot another offer holds, which would
            be given up for it; 0 = nobody switches.
        locked: Factor of switching and of giving up while a contract's term runs.
        renewal: Probability that a term that ends is renewed; else the service goes on without one.
        adjust: Monthly probability that the number of seats of a service follows the client's size.
        drift: Standard deviation of the monthly step of the logarithm of each offer's pull; 0 = none.
        calendar: Factor of all adoption by calendar month, January first.
    """

    organic: Factor
    organic_limit: Share
    response: Factor
    response_limit: Share
    initial_rounds: int = Field(ge=0)
    initial: Factor
    disconnection: Share
    disconnection_in_trouble: Share
    off_industry: Share
    staff_width: PositiveFloat
    taste: Factor
    whim: Factor
    substitute: Factor
    budget: PositiveFloat
    response_power: PositiveFloat = 1.0
    choice: PositiveFloat = 1.0
    switching: Share = 0.0
    locked: Share = 1.0
    renewal: Share = 1.0
    adjust: Share = 0.0
    drift: Factor = 0.0
    calendar: Annotated[tuple[Factor, ...], Field(min_length=12, max_length=12)] = _CALENDAR


class Aftersales(RunConfig):
    """Lists may offer to change what a client has: more seats, a renewal, a retention.

    Attributes:
        share: Share of lists whose candidates include such changes; the others offer new services and higher
            editions only.
        response: Factor of the response to being shown, relative to a new service wanted as much.
        limit: The probability by which being shown raises that of a change stays below.
        retention_months: For how long a client that accepted a retention is bound as by a contract's term.
    """

    share: Share = 0.5
    response: Factor = 3.0
    limit: Share = 0.4
    retention_months: int = Field(default=6, ge=1, le=120)


class Calls(RunConfig):
    """Managers who phone and pitch one offer, guessing; nothing of it stands in the decision log.

    Attributes:
        rate: Monthly probability that a company of ten people is called; 0 = nobody calls.
        size_power: Exponent of staff in that probability: calls concentrate on big clients.
        response: Rate of adoption after a pitch, for an attraction of 1.
        limit: The probability of adoption after a pitch stays below.
        margin_power: Exponent of the margin in the choice of what is pitched.
        insight: Exponent of the client's true wants in that choice; 0 = a blind guess.
    """

    rate: Share = 0.0
    size_power: Factor = 0.6
    response: Factor = 0.3
    limit: Share = 0.3
    margin_power: Factor = 0.5
    insight: Factor = 0.5


class Fact(RunConfig):
    """A fact from outside, such as a bank account elsewhere; what is known of it stands among the tags.

    Attributes:
        share: Share of clients of whom it is true.
        known: Share of clients of whom it is known, as ``name=yes`` or ``name=no``.
        offers: Offers that it makes more or less wanted.
        factor: Factor of their attraction while it is true.
    """

    share: Share
    known: Share
    offers: tuple[str, ...]
    factor: Factor


class Repricing(RunConfig):
    """A change of an offer's prices, recorded and in force from the first day of a month.

    Attributes:
        month: 0-based month.
        offer: The offer.
        factor: New price relative to the one before.
        region: Only in this region; empty = every price of the offer.
    """

    month: int = Field(ge=1)
    offer: str
    factor: PositiveFloat
    region: str = ""


class Misconduct(RunConfig):
    """A partner that misbehaves from a month on.

    Attributes:
        supplier: The partner.
        from_month: 0-based month of the activations from which on it does.
        complaint: P(a complaint follows an activation within a month).
    """

    supplier: str
    from_month: int = Field(ge=0)
    complaint: Share


class Feed(RunConfig):
    """How well the operator's systems report.

    Attributes:
        lost: Share of impressions and clicks that never reach the tables.
        late: Share of events that are recorded minutes to `late_days` days after they happened.
        late_days: The latest that a late event is recorded.
        duplicate: Share of events that are reported twice: a second row of the same event, recorded later.
        late_figures: Share of monthly figures that are known up to three weeks later than usual.
        corrected_figures: Share of monthly figures that are corrected later: a second row.
        late_profiles: Share of profile versions that are recorded up to two weeks after they hold.
    """

    lost: Share = 0.0
    late: Share = 0.02
    late_days: float = Field(default=2.0, gt=0, le=60)
    duplicate: Share = 0.0
    late_figures: Share = 0.0
    corrected_figures: Share = 0.0
    late_profiles: Share = 0.0


class LoggingKind(StrEnum):
    """How a logging policy draws a slot from what the slots above left.

    ``uniform``: every offer alike. ``softmax``: with weights ``exp(score / temperature)``. ``greedy``: the
    best score, or with probability ε a uniform draw.
    """

    UNIFORM = "uniform"
    SOFTMAX = "softmax"
    GREEDY = "greedy"


class Logging(RunConfig):
    """A logging policy, in force until the next one.

    An offer's score is the logarithm of one plus its holders per thousand clients, plus `confounding`
    times the logarithm of the client's true attraction to it.

    Attributes:
        policy: Its version, as logged.
        kind: How it draws.
        from_month: 0-based month of its first day.
        temperature: Of a softmax.
        exploration: ε of a greedy policy; 0 = deterministic.
        confounding: Weight of the client's true attraction, which no table shows; 0 = none.
    """

    policy: str = Field(default="uniform-1", min_length=1, max_length=64)
    kind: LoggingKind = LoggingKind.UNIFORM
    from_month: int = Field(default=0, ge=0)
    temperature: PositiveFloat = 1.0
    exploration: Share = 0.0
    confounding: Factor = 0.0

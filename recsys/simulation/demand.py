"""Who wants what: one entry of a world's ``[demand]``."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from recsys.config import RunConfig
from recsys.simulation.sections import Factor, Sections


class Demand(RunConfig):
    """Who wants an offer.

    Attributes:
        pull: General strength.
        staff: Range of people employed in which it fits best.
        industries: OKVED sections it is made for; empty = every one.
        digital: Exponent of digital maturity.
        growth: Exponent of growth.
        thrift: Exponent of price sensitivity.
        mobility: Exponent of mobility.
        moment: When in a client's life it is wanted; a name under ``moments``.
        after: Offers that make it more wanted while any of them is held.
        lift: By how much they do.
        past: Factor of the pull before the first simulated month; above 1 = popular from former times.
        seats: Seats, vehicles or SIM cards for one person employed; 0 = always one.
        capacity: Number of seats this edition serves well: beyond it the next edition is more wanted, below
            it less; 0 = size does not matter.
        term_months: Length of the contract's term; 0 = none.
        from_month: 0-based month in which it comes to market; 0 = it was there before.
        until_month: 0-based month from which on it is withdrawn from sale; missing = never.
        announced_days: How long before it comes or goes this is recorded.
    """

    pull: Factor
    staff: tuple[PositiveFloat, PositiveFloat]
    industries: Sections = ""
    digital: float = 0.0
    growth: float = 0.0
    thrift: float = 0.0
    mobility: float = 0.0
    moment: str = "any"
    after: tuple[str, ...] = ()
    lift: Factor = 4.0
    past: Factor = 1.0
    seats: Factor = 0.0
    capacity: Factor = 0.0
    term_months: int = Field(default=0, ge=0, le=120)
    from_month: int = Field(default=0, ge=0)
    until_month: int | None = Field(default=None, ge=1)
    announced_days: int = Field(default=14, ge=0, le=365)

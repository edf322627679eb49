"""What a decision is about: a client at a moment, and the lists asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from recsys.decision.availability import Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.facts import Moment
from recsys.decision.engine import Engine
from recsys.domain import ClientState, Language, Profile
from recsys.history import NO_HISTORY
from recsys.models.base import IntArray


@dataclass(frozen=True, slots=True)
class Ask:
    """A list that is asked for.

    Attributes:
        placement_id: Where it will be shown; one of the engine's placements.
        k: Length wanted, ≥1.
    """

    placement_id: str
    k: int


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything about the moment of a decision.

    Attributes:
        state: What is known of the client.
        now: When, aware.
        asks: The lists, in the order of the request; an offer is shown in the first that takes it.
        excluded: Offers that the request does not want.
        channel: Where the lists will be shown, where known.
        language: Language of the member who sees them.
        member_id: That member, where known.
        role: Its role, where known.
        restrictions: Suspensions, caps that are used up, and the member's spending limit.
    """

    state: ClientState
    now: datetime
    asks: tuple[Ask, ...]
    excluded: frozenset[str] = frozenset()
    channel: str | None = None
    language: Language = Language.RU
    member_id: str | None = None
    role: str | None = None
    restrictions: Restrictions = field(default_factory=Restrictions)

    @property
    def is_profiling_allowed(self) -> bool:
        """The client's profiling switch."""
        return self.state.profile is None or self.state.profile.is_profiling_allowed

    @property
    def read_state(self) -> ClientState:
        """What may be read of the client to choose for it.

        With profiling switched off this is what it takes not to offer the impossible: region, legal form and
        what is connected.
        """
        if self.is_profiling_allowed or self.state.profile is None:
            return self.state
        profile = Profile(
            region=self.state.profile.region,
            legal_form=self.state.profile.legal_form,
            is_profiling_allowed=False,
        )
        return replace(self.state, profile=profile, past_offer_ids=(), history=NO_HISTORY)


def moment_of(situation: Situation, engine: Engine, placement_id: str | None) -> Moment:
    """The context of the decision, as conditions read it."""
    return Moment(
        situation.now, placement_id, situation.channel, situation.language, situation.role, engine.zone
    )


def quantities_of(state: ClientState, catalogue: CompiledCatalogue) -> IntArray:
    """How many of each offer the client has, by position."""
    quantities = np.zeros(len(catalogue), dtype=np.int64)
    for holding in state.holdings:
        position = catalogue.positions.get(holding.offer_id)
        if position is not None:
            quantities[position] += holding.quantity
    return quantities

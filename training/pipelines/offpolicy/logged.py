"""What the log tells of one decision, in terms of the catalogue that a new policy is compiled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from recsys.decision.availability import Restrictions
from recsys.decision.engagement import ChangeArray
from recsys.decision.engine import Engine
from recsys.decision.proposals import CHANGES
from recsys.decision.situation import Ask, Situation
from recsys.domain import Change, ClientState, Language
from recsys.evaluation.offpolicy import drawing_chances, slot_chances
from recsys.models.base import FloatArray
from training.pipelines.offpolicy.drawing import BoolArray

_CERTAIN = 1 - 1e-9
_LAW_TOLERANCE = 1e-5
_CODES = {change: code for code, change in enumerate(CHANGES)}


@dataclass(frozen=True, slots=True)
class Told:
    """What the log tells of a decision beside its slots.

    Attributes:
        decision_id: The decision.
        at: Its moment.
        row: The columns of the table.
        request: What else a replay needs.
        offers: Candidates, best first.
        changes: What taking each would change.
        priorities: Of each.
    """

    decision_id: str
    at: datetime
    row: Mapping[str, Any]
    request: Mapping[str, Any]
    offers: Sequence[str]
    changes: Sequence[str]
    priorities: Sequence[float]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Told:
        """Read a row of the table."""
        written = orjson.loads(row["candidates"]) if row["candidates"] else {}
        return cls(
            decision_id=row["decision_id"],
            at=row["occurred_at"],
            row=row,
            request=orjson.loads(row["request"]) if row["request"] else {},
            offers=written.get("offer_id", ()),
            changes=written.get("change", ()),
            priorities=written.get("priority", ()),
        )

    def situation(self, state: ClientState, k: int) -> Situation:
        """The moment of the decision, with a list as long as the logged one."""
        request = self.request
        return Situation(
            state,
            self.at,
            (Ask(self.row["placement_id"], k),),
            excluded=frozenset(request.get("excluded", ())),
            channel=self.row["channel"],
            language=Language(request.get("language", Language.RU)),
            member_id=self.row["member_id"],
            role=request.get("role"),
            restrictions=Restrictions(
                used_up_caps=frozenset(request.get("used_up_caps", ())),
                spending_limit_minor=request.get("spending_limit_minor"),
            ),
        )


@dataclass(frozen=True, slots=True)
class LoggedList:
    """A logged list in terms of a catalogue.

    Attributes:
        shown: Position and change of each slot; −1 = the catalogue does not have the offer.
        chances: Logging probability of each slot given those above.
        candidates: Position and change of each candidate.
        drawn: Place of each slot's offer among the candidates; −1 = not among them.
        priorities: Of the candidates.
    """

    shown: tuple[tuple[int, int], ...]
    chances: FloatArray
    candidates: tuple[tuple[int, int], ...]
    drawn: list[int]
    priorities: FloatArray

    @classmethod
    def of(cls, slots: Sequence[Any], told: Told, engine: Engine) -> LoggedList:
        """Offers, changes and logging probabilities of a list's slots, and what the log tells beside them."""
        offer_ids, changes, chances = slots
        positions = engine.catalogue.positions

        def pair(offer_id: str, change: str) -> tuple[int, int]:
            return positions.get(offer_id, -1), _CODES[Change(change)]

        places = {offer_id: place for place, offer_id in enumerate(told.offers)}
        return cls(
            shown=tuple(map(pair, offer_ids, changes)),
            chances=chances,
            candidates=tuple(map(pair, told.offers, told.changes)),
            drawn=[places.get(offer_id, -1) for offer_id in offer_ids],
            priorities=np.array(told.priorities, dtype=np.float64),
        )

    def positions(self, changes: ChangeArray) -> list[int]:
        """Position of each logged slot, −1 where the policy would propose another change of the offer."""
        return [
            position if position >= 0 and changes[position] == change else -1
            for position, change in self.shown
        ]

    def is_possible(self, changes: ChangeArray) -> BoolArray:
        """By slot and position: a candidate of the log, at a slot drawn by chance; else only what was shown.

        A log that names no candidates is taken to have had all offers.
        """
        found = np.zeros((len(self.shown), len(changes)), dtype=bool)
        is_candidate = np.full(len(changes), not self.candidates)
        for position, change in self.candidates:
            if position >= 0 and changes[position] == change:
                is_candidate[position] = True
        found[self.chances < _CERTAIN] = is_candidate
        for slot, position in enumerate(self.positions(changes)):
            if position >= 0:
                found[slot, position] = True
        return found

    def overall(self) -> FloatArray:
        """P(each logged offer at its slot) under the policy that made the log, whatever stands above.

        Known of lists without chance, and of those drawn by their priorities (Plackett–Luce), which the
        logged probabilities show; of others for the first slot only.
        """
        if (self.chances >= _CERTAIN).all():
            return np.ones(len(self.chances))
        known = np.full(len(self.chances), np.nan)
        known[0] = self.chances[0]
        worths, drawn = self.priorities, self.drawn
        if min(drawn) < 0 or not (worths > 0).all():
            return known
        if not np.allclose(drawing_chances(worths, drawn), self.chances, rtol=_LAW_TOLERANCE, atol=0):
            return known
        return np.array([slot_chances(worths, place, slot + 1)[slot] for slot, place in enumerate(drawn)])

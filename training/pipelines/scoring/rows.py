"""Decisions as rows: the tables of the contract, and the same lists in words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import orjson
import polars as pl

from recsys.data.write import conform
from recsys.decision.arbitration import Estimate
from recsys.decision.candidates import candidates_json
from recsys.decision.decide import Slate, Slot
from recsys.decision.explain import Explainer, Reason
from recsys.domain import Change, ClientState, Language, Price, Profile
from recsys.tables import DECISION_ITEMS, DECISIONS
from training.pipelines.scoring.sources import Decided, Sources

LISTS = "lists"
LISTS_SCHEMA: Mapping[str, pl.DataType] = {
    "client_id": pl.String(),
    "placement_id": pl.String(),
    "slot": pl.Int64(),
    "offer_id": pl.String(),
    "title": pl.String(),
    "change": pl.String(),
    "priority": pl.Float64(),
    "probability": pl.Float64(),
    "logging_probability": pl.Float64(),
    "price_minor": pl.Int64(),
    "price_period": pl.String(),
    "reasons": pl.List(pl.String()),
    "decision_id": pl.String(),
}
ESTIMATED = (Change.NEW, Change.UPGRADE)
"""Changes of which the models know a probability; of the others the policy states a prior."""

Row = dict[str, object]


@dataclass
class Rows:
    """The rows of some decisions, as they are made.

    Attributes:
        sources: What they were made with.
        language: Language of titles and reasons.
        decisions: One row per list.
        items: One row per slot.
        lists: One row per slot, in words.
    """

    sources: Sources
    language: Language
    decisions: list[Row] = field(default_factory=list)
    items: list[Row] = field(default_factory=list)
    lists: list[Row] = field(default_factory=list)

    def add(self, decided: Decided) -> None:
        """Write down the decision for one client."""
        explain, above = _Words(self.sources, decided, self.language), list[str]()
        for ask, slate in zip(decided.situation.asks, decided.decision.slates, strict=True):
            decision_id = self._decision_id(decided, slate)
            self.decisions.append(self._decision(decided, slate, decision_id))
            self.decisions[-1]["request"] = self._request(ask.k, above)
            for slot in slate.slots:
                self._add_slot(slate, slot, decision_id, explain)
            above.append(decision_id)

    def frames(self) -> dict[str, pl.DataFrame]:
        """The rows by table: `decisions` and `decision_items` as their contracts say, and `lists`."""
        return {
            DECISIONS.name: conform(pl.DataFrame(self.decisions, infer_schema_length=None), DECISIONS),
            DECISION_ITEMS.name: conform(pl.DataFrame(self.items, schema=_ITEMS_SCHEMA), DECISION_ITEMS),
            LISTS: pl.DataFrame(self.lists, schema=dict(LISTS_SCHEMA)),
        }

    def _decision_id(self, decided: Decided, slate: Slate) -> str:
        """As long as a server's, and the same whenever the same is asked of the same."""
        sources, at = self.sources, decided.decision.decided_at
        made_of = (
            at.isoformat(),
            sources.engine.policy.version,
            sources.bundle.version,
            sources.dataset.digest,
            slate.placement_id,
            decided.situation.state.client_id,
        )
        digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()
        return f"{int(at.timestamp() * 1000):012x}{digest[:20]}"

    def _decision(self, decided: Decided, slate: Slate, decision_id: str) -> Row:
        sources, estimate = self.sources, decided.scored.estimates[decided.place]
        return {
            "decision_id": decision_id,
            "client_id": decided.situation.state.client_id,
            "placement_id": slate.placement_id,
            "occurred_at": decided.decision.decided_at,
            "recorded_at": decided.decision.decided_at,
            "seed": slate.seed,
            "policy_version": sources.engine.policy.version,
            "bundle_version": sources.bundle.version,
            "state_version": decided.situation.state.version,
            "is_personalised": is_personalised(decided),
            "basis": estimate.basis.value,
            "candidates": candidates_json(slate, estimate, sources.engine).decode(),
        }

    def _request(self, k: int, above: Sequence[str]) -> str:
        """What a replay needs beside the state."""
        told: Row = {"k": k, "language": self.language.value, "time_zone": str(self.sources.engine.zone)}
        if self.sources.restrictions.used_up_caps:
            told["used_up_caps"] = sorted(self.sources.restrictions.used_up_caps)
        if above:
            told["above"] = list(above)
        return orjson.dumps(told).decode()

    def _add_slot(self, slate: Slate, slot: Slot, decision_id: str, words: _Words) -> None:
        position, price, reasons = slot.position, words.prices[slot.position], words.reasons(slot)
        shown: Row = {
            "decision_id": decision_id,
            "slot": slot.rank,
            "offer_id": self.sources.engine.catalogue.offer_ids[position],
            "change": slot.change.value,
            "logging_probability": slot.logging_probability,
        }
        self.items.append({**shown, "reasons": [reason.code for reason in reasons]})
        self.lists.append(
            {
                **shown,
                "client_id": words.client_id,
                "placement_id": slate.placement_id,
                "title": words.title(position),
                "priority": float(slate.factors.priority[position]),
                "probability": words.probability(slot),
                "price_minor": None if price is None else price.amount_minor,
                "price_period": None if price is None else price.period.value,
                "reasons": [reason.text for reason in reasons],
            }
        )


_ITEMS_SCHEMA: Mapping[str, pl.DataType] = {
    "decision_id": pl.String(),
    "slot": pl.Int64(),
    "offer_id": pl.String(),
    "change": pl.String(),
    "logging_probability": pl.Float64(),
    "reasons": pl.List(pl.String()),
}


class _Words:
    """What is said of one client's lists."""

    def __init__(self, sources: Sources, decided: Decided, language: Language) -> None:
        catalogue, state = sources.engine.catalogue, decided.situation.state
        profile = state.profile or Profile()
        self.client_id = state.client_id
        self.prices: Sequence[Price | None] = catalogue.prices(profile.region, profile.size)
        self._texts = catalogue.texts[language]
        self._evidence = partial(decided.scored.evidence, decided.place)
        self._estimate = decided.scored.estimates[decided.place]
        self._explainer = explainer_of(sources, state, self._estimate, language)

    def title(self, position: int) -> str:
        return self._texts[position].title

    def probability(self, slot: Slot) -> float | None:
        """What the model says, as a server tells it; of a change that it knows nothing of, nothing."""
        if self._estimate.target is None or slot.change not in ESTIMATED:
            return None
        return float(self._estimate.probabilities[slot.position])

    def reasons(self, slot: Slot) -> tuple[Reason, ...]:
        position = slot.position
        return self._explainer.reasons(slot, self._evidence(position), self.prices[position])


def explainer_of(sources: Sources, state: ClientState, estimate: Estimate, language: Language) -> Explainer:
    """Explains a client's slots in the order in which they are asked for."""
    return Explainer(
        sources.engine.catalogue,
        state,
        language,
        sources.engine.policy,
        is_personalised=estimate.is_personalised,
        holdings=sources.dataset.meta.holdings,
    )


def is_personalised(decided: Decided) -> bool:
    """Whether the client's own data ordered its lists."""
    weighed = any(slate.is_weighed_personally for slate in decided.decision.slates)
    return weighed or decided.scored.estimates[decided.place].is_personalised

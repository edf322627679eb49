"""Arbitration: which candidate comes first.

priority = P × C × V × L: probability, context, value, levers. A factor that is missing or switched off counts
as 1. Ties are broken by the order of the estimate: probability, the model's score, then offer id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.syntax import Condition
from recsys.decision.policy.arbitration import ArbitrationSpec
from recsys.decision.proposals import EXPAND, RENEW, RETAIN, UPGRADE
from recsys.domain import Basis, Target
from recsys.models.base import FloatArray, IntArray, OfferIndex

_GROUP_PRIOR_OFFERS = 3.0
_LEAST_LEVERS, _MOST_LEVERS = 0.5, 2.0
_MOST_CONTEXTS = 256


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a model says of one client and every offer of the catalogue.

    Attributes:
        probabilities: By position, 0–1; what they are probabilities of is `target`.
        order: Positions from the highest priority to the lowest.
        basis: On what the numbers rest.
        target: What `probabilities` are; None when they only order (no model was there).
        is_personalised: Whether the client's own data ordered the offers.
        is_unknown: By position, whether the model never saw the offer; None = it saw every one.
    """

    probabilities: FloatArray
    order: NDArray[np.int32]
    basis: Basis
    target: Target | None
    is_personalised: bool
    is_unknown: NDArray[np.bool_] | None = None


def rank(probabilities: FloatArray, scores: FloatArray) -> NDArray[np.int32]:
    """Positions by probability, then score, both descending, then position.

    Args:
        probabilities: Shape (…, n_offers).
        scores: Shape (…, n_offers).

    Example:
        >>> rank(np.array([0.1, 0.3, 0.3, 0.1]), np.array([1.0, 2.0, 5.0, 1.0])).tolist()
        [2, 1, 0, 3]
    """
    return np.lexsort((-scores, -probabilities)).astype(np.int32)


class Factors(NamedTuple):
    """The factors of every offer, by position; a factor that does not count is 1. Not to be written to.

    Attributes:
        probability: P, 0–1.
        context: C, ≥0.
        value: V, 0 to the cap.
        levers: L, 0.5–2.
        priority: Their product.
    """

    probability: FloatArray
    context: FloatArray
    value: FloatArray
    levers: FloatArray
    priority: FloatArray


class Context(NamedTuple):
    """What the context weights that hold for a client come to.

    Attributes:
        weights: C by position; None where it is 1 everywhere.
        never: Positions that it rules out.
    """

    weights: FloatArray | None
    never: IntArray


class Arbitration:
    """The arbitration of a policy, compiled for one catalogue.

    Args:
        catalogue: The compiled catalogue.
        spec: The policy's ``arbitration.yaml``.
    """

    def __init__(self, catalogue: CompiledCatalogue, spec: ArbitrationSpec) -> None:
        self.spec = spec
        self.conditions: tuple[Condition, ...] = tuple(weight.when for weight in spec.context_weights)
        offers = catalogue.offers
        self._own = _own_margins(catalogue)
        self._shared = self._own
        if spec.value.share_in_need_groups:
            self._shared = _shared_margins(self._own, _group_codes([offer.need_group for offer in offers]))
        known = self._own.units[~np.isnan(self._own.units)]
        self._median = float(np.median(known)) if len(known) else 0.0
        scopes = [weight.offers.mask(catalogue) * (weight.weight / 100.0) for weight in spec.context_weights]
        self._weights = np.array(scopes).reshape(len(scopes), len(offers))
        self._levers = np.ones(len(offers))
        if spec.factors.levers:
            levers = spec.levers
            self._levers = np.array(
                [
                    1.0
                    + (
                        levers.categories.get(offer.category or "", 0.0)
                        + levers.need_groups.get(offer.need_group or "", 0.0)
                        + levers.offers.get(offer.offer_id, 0.0)
                    )
                    / 100.0
                    for offer in offers
                ]
            ).clip(_LEAST_LEVERS, _MOST_LEVERS)
        self._value_of_new = np.array([self._value(margin) for margin in self._shared.units.tolist()])
        self._ones = np.ones(len(offers))
        for shared in (self._levers, self._value_of_new, self._ones):
            shared.setflags(write=False)
        self._no_context = Context(None, np.array([], dtype=np.intp))
        self._contexts: dict[bytes, Context] = {}
        priors = spec.change_probabilities
        self._priors = {RENEW: priors.renew, EXPAND: priors.expand, RETAIN: priors.retain}

    def probabilities(self, estimated: FloatArray, changes: NDArray[np.int8]) -> FloatArray:
        """Probability of the proposed changes: the model's, or the stated prior where it has none.

        Args:
            estimated: The model's, by position; of one client, or clients_by_offers.
            changes: Codes of the changes in the order of `Change`, of the same shape.

        Returns:
            Of the same shape.
        """
        found = estimated.copy()
        for change, prior in self._priors.items():
            found[changes == change] = prior
        return found

    def margins_minor(self, changes: NDArray[np.int8], quantities: IntArray) -> FloatArray:
        """Expected margin of each change a month, in minor units; nan where unknown.

        What is new or one unit more brings the offer's margin. Renewing or retaining brings what is at stake,
        margin × quantity; an upgrade what it adds to each unit, Σ quantity × (its margin − the former
        edition's) over the editions that it replaces.

        Args:
            changes: See `probabilities`; of one client.
            quantities: How many of each offer the client has, by position.
        """
        margins = self._own.units.copy()
        for position in changes.nonzero()[0].tolist():
            margins[position] = self._own.of(position, int(changes[position]), quantities)
        return margins

    def context(self, truth: bytes) -> Context:
        """What the context weights come to.

        Args:
            truth: For each of `conditions` whether it is true (not: unknown) of a client now: 1 or 0.
        """
        if not self.spec.factors.context or 1 not in truth:
            return self._no_context
        found = self._contexts.get(truth)
        if found is None:
            if len(self._contexts) >= _MOST_CONTEXTS:
                self._contexts = {}
            weights = np.maximum(1.0 + np.frombuffer(truth, np.int8).astype(np.float64) @ self._weights, 0.0)
            weights.setflags(write=False)
            found = self._contexts[truth] = Context(weights, (weights == 0.0).nonzero()[0])
        return found

    def factors(
        self,
        estimated: FloatArray,
        changes: NDArray[np.int8],
        context: Context,
        quantities: IntArray | None = None,
    ) -> Factors:
        """The factors of one client and their product.

        Args:
            estimated: The model's probabilities, 0–1, by position.
            changes: Codes of the changes in the order of `Change`, by position.
            context: What its context comes to.
            quantities: How many of each offer it has, by position; None = all offers would be new to it.
        """
        is_estimated = self.spec.factors.probability
        probability, value = estimated if is_estimated else self._ones, self._value_of_new
        if quantities is not None:
            probability, value = probability.copy(), value.copy()
            # Few offers of a client would not be new to it.
            for position in changes.nonzero()[0].tolist():
                change = changes.item(position)
                if is_estimated and change in self._priors:
                    probability[position] = self._priors[change]
                value[position] = self._value(self._shared.of(position, change, quantities))
        weighted = probability if context.weights is None else probability * context.weights
        return Factors(
            probability,
            self._ones if context.weights is None else context.weights,
            value,
            self._levers,
            weighted * value * self._levers,
        )

    @staticmethod
    def order(priority: FloatArray, tie_break: IntArray) -> IntArray:
        """Positions by descending priority.

        Args:
            priority: By position.
            tie_break: The positions in question; equal priorities stand as in it.

        Example:
            >>> Arbitration.order(np.array([0.1, 0.3, 0.1, 0.2]), np.array([2, 0, 1])).tolist()
            [1, 2, 0]
        """
        order: IntArray = tie_break.take((-priority.take(tie_break)).argsort(kind="stable"))
        return order

    def _value(self, margin: float) -> float:
        """V: margin ÷ the catalogue's median, 0 to the cap; 1 where the margin is unknown."""
        if not self.spec.factors.value or self._median <= 0 or isnan(margin):
            return 1.0
        return min(max(margin / self._median, 0.0), self.spec.value.cap)


class _Margins(NamedTuple):
    """What one unit brings a month, in minor units; nan where unknown.

    Attributes:
        units: Of each offer, by position.
        steps: Position of a next edition → position of each former one → what the step up from it adds.
    """

    units: FloatArray
    steps: Mapping[int, Mapping[int, float]]

    def of(self, position: int, change: int, quantities: IntArray) -> float:
        """What a change brings: that of a unit times the units that are at stake."""
        if change == UPGRADE:
            steps = self.steps[position].items()
            return float(sum([quantities[former] * step for former, step in steps if quantities[former]]))
        n_units = max(quantities.item(position), 1) if change in (RENEW, RETAIN) else 1
        return self.units.item(position) * n_units


def _own_margins(catalogue: CompiledCatalogue) -> _Margins:
    units = np.array(
        [np.nan if offer.margin_minor is None else offer.margin_minor for offer in catalogue.offers],
        dtype=np.float64,
    )
    steps: dict[int, dict[int, float]] = {}
    for offer_id, position in catalogue.upgrades.items():
        former = catalogue.positions[offer_id]
        steps.setdefault(position, {})[former] = float(units[position] - units[former])
    return _Margins(units, steps)


def _shared_margins(own: _Margins, groups: IntArray) -> _Margins:
    """Every offer of a need group has the mean of the margins known in it; steps up to it have theirs."""
    steps: dict[int, list[float]] = {}
    for position, of_former in own.steps.items():
        steps.setdefault(int(groups[position]), []).extend(of_former.values())
    return _Margins(
        np.array([_mean_of_known(own.units[groups == group]) for group in groups], dtype=np.float64),
        {
            position: dict.fromkeys(of_former, _mean_of_known(np.array(steps[int(groups[position])])))
            for position, of_former in own.steps.items()
        },
    )


def _mean_of_known(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _group_codes(need_groups: Iterable[str | None]) -> IntArray:
    """A number per need group, each offer without one being a group of its own."""
    numbers: dict[str | int, int] = {}
    return np.array(
        [
            numbers.setdefault(place if group is None else group, len(numbers))
            for place, group in enumerate(need_groups)
        ],
        dtype=np.int64,
    )


class Alignment:
    """Carries a model's columns over to the catalogue's positions.

    A column whose offer left the catalogue is dropped. An offer that the model never saw gets the mean of
    its need group, shrunk to the mean of all: (Σ_group p + m·p̄) / (n_group + m) with m = 3 offers.

    Attributes:
        is_unknown: By position which ones those are; None = none.
        column_of: The column of each position that the model knows.
    """

    def __init__(self, catalogue: CompiledCatalogue, offers: OfferIndex) -> None:
        is_known = np.array([offer_id in offers for offer_id in catalogue.offer_ids], dtype=bool)
        known = np.flatnonzero(is_known).tolist()
        self._n_offers = len(catalogue)
        self._columns = np.array(
            [offers.column_of(catalogue.offer_ids[position]) for position in known], dtype=np.int64
        )
        self._positions = np.array(known, dtype=np.int64)
        self._unknown = np.flatnonzero(~is_known)
        self.is_unknown = None if is_known.all() else ~is_known
        self._weights = _group_weights(catalogue, known, self._unknown)
        self.column_of: Mapping[int, int] = dict(zip(known, self._columns.tolist(), strict=True))

    def align(self, values: FloatArray) -> FloatArray:
        """One value per position of the catalogue, shape (…, n_offers).

        Args:
            values: One value per column of the model, shape (…, n_columns).
        """
        found = values.take(self._columns, axis=-1)
        if len(self._unknown) == 0:
            return found
        aligned = np.empty((*values.shape[:-1], self._n_offers))
        aligned[..., self._positions] = found
        # without a known offer these are sums of nothing: zeros
        aligned[..., self._unknown] = found @ self._weights.T
        return aligned


def _group_weights(catalogue: CompiledCatalogue, known: list[int], unknown: IntArray) -> FloatArray:
    """unknown_by_known weights; each row sums to one."""
    groups = [catalogue.offers[position].need_group for position in known]
    weights = np.zeros((len(unknown), len(known)))
    for row, position in enumerate(unknown):
        group = catalogue.offers[position].need_group
        is_same = np.array([group is not None and other == group for other in groups], dtype=float)
        everybody = np.full(len(known), 1.0 / len(known)) if known else np.zeros(0)
        weights[row] = (is_same + _GROUP_PRIOR_OFFERS * everybody) / (is_same.sum() + _GROUP_PRIOR_OFFERS)
    return weights


def fallback_estimate(catalogue: CompiledCatalogue, holder_counts: Mapping[str, int]) -> Estimate:
    """An order that needs no model: the most held offers first; without any holding, the catalogue's order.

    Args:
        catalogue: The compiled catalogue.
        holder_counts: Number of clients that hold each offer.

    Returns:
        The same estimate for every client. Its "probabilities", (holders + 1) / (most + 1), only order,
        so its target is None. None of them is 0, so that value and weights order what nobody holds.
    """
    counts = np.array([float(holder_counts.get(offer_id, 0)) for offer_id in catalogue.offer_ids])
    shares = (counts + 1.0) / (counts.max(initial=0.0) + 1.0)
    return Estimate(shares, rank(shares, shares), Basis.POPULATION, target=None, is_personalised=False)

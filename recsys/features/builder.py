"""Feature rows of a client at a moment: the one way from a state to numbers, online and offline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.data.state import present
from recsys.domain import ClientState, Offer, Profile
from recsys.features.client import ClientFamily, client_features, recent_activity
from recsys.features.lifecycle import StageThresholds
from recsys.features.offer import OFFER_FEATURES, OfferFamily
from recsys.features.pair import PAIR_FEATURES, PairFamily
from recsys.features.population import Population, need_groups_of
from recsys.features.spec import FeatureSpec

FloatArray = NDArray[np.float64]


def spec_of(need_groups: Sequence[str]) -> FeatureSpec:
    """The features that this program builds.

    Args:
        need_groups: Those of the population, or without one of the catalogue.
    """
    return FeatureSpec(client_features(need_groups), (*OFFER_FEATURES, *PAIR_FEATURES))


class FeatureRows(NamedTuple):
    """A client's features at a moment.

    Attributes:
        client: Shape (n_client_features,).
        pairs: Shape (n_offers, n_pair_features), offers in the order of `FeatureBuilder.offer_ids`.
    """

    client: FloatArray
    pairs: FloatArray


class FeatureBlocks(NamedTuple):
    """Features of clients, each at its moment.

    Attributes:
        client: Shape (n_clients, n_client_features).
        pairs: Of the pairs, without the offers' own, shape (n_clients, n_pair_features − n_own, n_offers).
    """

    client: FloatArray
    pairs: FloatArray


class Asked(NamedTuple):
    """Names of features.

    Attributes:
        client: Of the client's row.
        pair: Of the rows with offers.
    """

    client: frozenset[str]
    pair: frozenset[str]


class FeatureBuilder:
    """Builds feature rows; everything that does not depend on the client is prepared once.

    Args:
        offers: The catalogue.
        population: Frozen figures of all clients; None = unknown.
        thresholds: Where lifecycle stages begin and end.
        asked: Names of the features that are wanted; None = all.

    Attributes:
        offer_ids: Of the catalogue, ascending.
        spec: The features of the rows: at least what is asked for, in the order of all.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        population: Population | None = None,
        thresholds: StageThresholds = StageThresholds(),  # noqa: B008 -- frozen
        asked: Asked | None = None,
    ) -> None:
        need_groups = need_groups_of(offers) if population is None else population.need_groups
        self._made_of = offers, population, thresholds
        self._narrowed: dict[Asked, FeatureBuilder] = {}
        of_client, of_pairs = asked or (None, None)
        self._client = ClientFamily(offers, need_groups, thresholds, of_client)
        self._offers = OfferFamily(offers, population, of_pairs)
        self._pair = PairFamily(self._offers, population, of_pairs)
        self._offers_at: tuple[datetime | None, FloatArray] = None, self._offers.template
        self.offer_ids = tuple(self._offers.positions)
        self.spec = FeatureSpec(self._client.features, (*self._offers.features, *self._pair.features))
        self._staff_line = None if population is None else population.staff_line

    def narrowed(self, asked: Asked) -> FeatureBuilder:
        """A builder of the same rows with fewer numbers, which cost less.

        Args:
            asked: Names of the features that are wanted; the builder of the same names is made once.
        """
        found = self._narrowed.get(asked)
        if found is None:
            found = self._narrowed[asked] = FeatureBuilder(*self._made_of, asked)
        return found

    def profile_of(self, state: ClientState) -> Profile | None:
        """The client's profile, its staff guessed where it is unknown; see `StaffLine`."""
        return state.profile if self._staff_line is None else self._staff_line.profile_of(state)

    @property
    def of_offers(self) -> FloatArray:
        """The offers' own numbers, without what time changes, shape (n_own, n_offers); not to be changed."""
        return self._offers.template

    def client_row(self, state: ClientState, now: datetime) -> FloatArray:
        """The client's own numbers, shape (n_client_features,); NaN = unknown.

        Args:
            state: What is stored of the client, or what the history says of it.
            now: The moment, aware.
        """
        row: FloatArray = self._client.rows((present(state, now),), (recent_activity(state, now),), (now,))[0]
        return row

    def rows(self, state: ClientState, now: datetime) -> FeatureRows:
        """The client's own numbers and those with every offer; arguments as in `client_row`."""
        blocks = self.blocks((state,), (now,))
        kept_at, of_offers = self._offers_at
        if kept_at != now:
            of_offers = self._offers.template.copy()
            self._offers.fill(of_offers, now)
            # one assignment, so that threads never see half of it; who reads many rows has few moments
            self._offers_at = now, of_offers
        return FeatureRows(blocks.client[0], np.concatenate([of_offers, blocks.pairs[0]]).T)

    def blocks(self, states: Sequence[ClientState], moments: Sequence[datetime]) -> FeatureBlocks:
        """The numbers of several clients; what is the offers' own is not among them.

        Args:
            states: What is stored of the clients, or what the history says of them.
            moments: The moment of each, aware.
        """
        activities = list(map(recent_activity, states, moments))
        states = list(map(present, states, moments))
        return FeatureBlocks(
            self._client.rows(states, activities, moments), self._pair.blocks(states, activities, moments)
        )

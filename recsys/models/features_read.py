"""Which features trees read, and how rows of them are put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.builder import Asked, FeatureBuilder, spec_of
from recsys.features.offer import OFFER_FEATURES
from recsys.features.spec import Feature
from recsys.models.batch import ClientBatch, FloatArray, IntArray, OfferIndex
from recsys.models.joined_trees import Parts

_CLIENT = "client_"
_GROUP_COUNTS = "n_holdings_in_"
# what only tells the time: later windows would be told from earlier ones by it
_UNREAD = {"population_age_days", "days_live", "n_months_known", "days_since_month"}
_FALLING = {
    "price_minor",
    "price_to_spend",
    "n_impressions_30d",
    "n_impressions_90d",
    "n_prerequisites_missing",
    "is_excluded",
}
_RISING = {"neighbour_share"}


class _Narrowed(NamedTuple):
    """A builder of few features, and where those that are asked for are among its own.

    Attributes:
        builder: Of what is asked for, of a client at least that.
        offers: Values of the offers' own features in the order of the columns, shape (n_own, n_offers).
        logs: The components that are asked for.
        clients: Places in `FeatureBuilder.spec.client`.
        places: Of each column among the builder's offers, their number = none; None = they are the columns.
    """

    builder: FeatureBuilder
    offers: FloatArray
    logs: IntArray
    clients: IntArray
    places: IntArray | None


class FeatureReader:
    """Rows for trees: the components' logarithms, then pair features, then the client's own.

    Counts of holdings by need group are left out: components read the holdings themselves, and the groups
    change with the catalogue.

    Args:
        n_components: Number of components.

    Attributes:
        names: Of the columns.
        directions: +1 where a higher value may only raise the probability, −1 where it may only lower it,
            else 0, in the order of the columns.
        kinds: Place in `Parts` of each column.
    """

    def __init__(self, n_components: int) -> None:
        spec = spec_of(())
        pair = [feature.name for feature in spec.pair]
        client = [feature.name for feature in spec.client]
        self._pair = np.array([place for place, name in enumerate(pair) if name not in _UNREAD])
        self._client = np.array(
            [
                place
                for place, name in enumerate(client)
                if name not in _UNREAD and not name.startswith(_GROUP_COUNTS)
            ]
        )
        of_pairs = [pair[place] for place in self._pair]
        self.names = (
            *(f"component_{number}" for number in range(n_components)),
            *of_pairs,
            *(f"{_CLIENT}{client[place]}" for place in self._client),
        )
        self.directions = (
            [1] * n_components
            + [(name in _RISING) - (name in _FALLING) for name in of_pairs]
            + [0] * len(self._client)
        )
        own = {each.name for each in OFFER_FEATURES}
        self.kinds = np.array(
            [2] * n_components + [0 if name in own else 2 for name in of_pairs] + [1] * len(self._client)
        )
        self._n_components = n_components
        self._first_client = n_components + len(self._pair)
        self._aligned: tuple[FeatureBuilder, OfferIndex, IntArray] | None = None
        self._narrowed: tuple[FeatureBuilder, OfferIndex, Parts[IntArray], _Narrowed] | None = None

    def parts(
        self, clients: ClientBatch, offers: OfferIndex, logs: FloatArray, asked: Parts[IntArray]
    ) -> Parts[FloatArray]:
        """Values of features of every client with every offer, each where it can differ.

        Args:
            clients: With states, moments and features.
            offers: The columns.
            logs: Shape (n_components, n_clients, n_offers).
            asked: Which features, ascending; see `kinds`.

        Returns:
            As `JoinedTrees.sums` reads them.

        Raises:
            ValueError: The clients come without features.
        """
        narrow = self._narrow(_builder_of(clients), offers, asked)
        found = narrow.builder.blocks(clients.states, clients.moments)
        of_pairs = found.pairs if narrow.places is None else _aligned(found.pairs, narrow.places)
        pairs = np.concatenate([logs[narrow.logs].swapaxes(0, 1), of_pairs], axis=1)
        return Parts(narrow.offers, found.client.T.take(narrow.clients, axis=0), pairs)

    def rows_of(
        self, clients: ClientBatch, offers: OfferIndex, logs: FloatArray, moments: IntArray, columns: IntArray
    ) -> NDArray[np.float32]:
        """Rows of some candidates.

        Args:
            clients: With states, moments and features.
            offers: The columns.
            logs: Shape (n_candidates, n_components).
            moments: Each candidate's client, ascending, shape (n_candidates,).
            columns: Each candidate's offer, shape (n_candidates,).
        """
        rows = np.full((len(moments), len(self.names)), np.nan, dtype=np.float32)
        rows[:, : self._n_components] = logs
        builder = _builder_of(clients)
        places = self._places(builder, offers)
        first = self._first_client
        bounds = np.searchsorted(moments, np.arange(len(clients) + 1)).tolist()
        for client, (state, moment) in enumerate(zip(clients.states, clients.moments, strict=True)):
            asked = slice(bounds[client], bounds[client + 1])
            if asked.start == asked.stop:
                continue
            found = builder.rows(state, moment)
            at = places[columns[asked]]
            is_known = at < len(found.pairs)
            part = rows[asked]
            part[is_known, self._n_components : first] = found.pairs[at[is_known]][:, self._pair]
            part[:, first:] = found.client[self._client]
        return rows

    def _narrow(self, builder: FeatureBuilder, offers: OfferIndex, asked: Parts[IntArray]) -> _Narrowed:
        """A builder of what is asked for; there is one after another, as trees and catalogues change."""
        kept = self._narrowed
        if kept is None or kept[0] is not builder or kept[1] is not offers or kept[2] is not asked:
            of_offers, of_clients, of_pairs = ([self.names[place] for place in part] for part in asked)
            n_logs = int((asked.pairs < self._n_components).sum())
            pair, client = of_pairs[n_logs:], [name.removeprefix(_CLIENT) for name in of_clients]
            narrow = builder.narrowed(Asked(frozenset(client), frozenset([*of_offers, *pair])))
            own, places = narrow.of_offers, self._places(builder, offers)
            found = _Narrowed(
                builder=narrow,
                offers=_aligned(own, places),
                logs=asked.pairs[:n_logs],
                clients=_rows_of(narrow.spec.client, client),
                places=None if builder.offer_ids == offers.offer_ids else places,
            )
            # one assignment, so that threads never see half of it
            self._narrowed = kept = (builder, offers, asked, found)
        return kept[3]

    def _places(self, builder: FeatureBuilder, offers: OfferIndex) -> IntArray:
        """For each column its place among the builder's offers, their number = none."""
        kept = self._aligned
        if kept is None or kept[0] is not builder or kept[1] is not offers:
            known = {offer_id: place for place, offer_id in enumerate(builder.offer_ids)}
            places = np.array(
                [known.get(offer_id, len(known)) for offer_id in offers.offer_ids], dtype=np.int64
            )
            # one assignment, so that threads never see half of it
            self._aligned = kept = (builder, offers, places)
        return kept[2]


def _builder_of(clients: ClientBatch) -> FeatureBuilder:
    if clients.features is None or len(clients.moments) != len(clients):
        raise ValueError("the clients come without moments or features, which trees read")
    return clients.features


def _aligned(values: FloatArray, places: IntArray) -> FloatArray:
    """Values of a builder's offers in the order of columns, NaN for those that it does not know."""
    return np.append(values, np.full((*values.shape[:-1], 1), np.nan), axis=-1)[..., places]


def _rows_of(features: Sequence[Feature], names: Sequence[str]) -> IntArray:
    places = {each.name: place for place, each in enumerate(features)}
    return np.array([places[name] for name in names], dtype=np.int64)

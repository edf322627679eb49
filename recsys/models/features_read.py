"""Which features trees read, and how rows of them are put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.builder import Asked, FeatureBuilder, spec_of
from recsys.features.spec import Feature
from recsys.models.batch import ClientBatch, FloatArray, IntArray, OfferIndex

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
        builder: Of at least what is asked for.
        pair: Places in `FeatureBuilder.spec.pair`.
        client: Places in `FeatureBuilder.spec.client`.
    """

    builder: FeatureBuilder
    pair: IntArray
    client: IntArray


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
        self._n_components = n_components
        self._first_client = n_components + len(self._pair)
        self._aligned: tuple[FeatureBuilder, OfferIndex, IntArray] | None = None
        self._narrowed: tuple[FeatureBuilder, IntArray, _Narrowed] | None = None

    def all_rows(
        self, clients: ClientBatch, offers: OfferIndex, logs: FloatArray, asked: IntArray
    ) -> FloatArray:
        """Rows of every client with every offer, the offers of a client side by side.

        Args:
            clients: With states, moments and features.
            offers: The columns.
            logs: Shape (n_components, n_clients, n_offers).
            asked: Which features, ascending, shape (n_asked,).

        Returns:
            Shape (n_clients × n_offers, n_asked), columns contiguous.

        Raises:
            ValueError: The clients come without features.
        """
        builder, places = self._places(clients, offers)
        is_aligned = builder.offer_ids == offers.offer_ids
        narrow, of_pairs, of_client = self._narrow(builder, asked)
        first_client = len(asked) - len(of_client)
        first_pair = first_client - len(of_pairs)
        # one feature after another, as they are made: nothing is turned round
        cells = np.empty((len(asked), len(clients), len(offers)))
        cells[:first_pair] = logs[asked[:first_pair]]
        of_clients = np.empty((len(clients), len(narrow.spec.client)))
        for client, (state, moment) in enumerate(zip(clients.states, clients.moments, strict=True)):
            found = narrow.rows(state, moment)
            of_clients[client] = found.client
            pairs = found.pairs.T.take(of_pairs, axis=0)
            if not is_aligned:
                pairs = np.append(pairs, np.full((len(pairs), 1), np.nan), axis=1)[:, places]
            cells[first_pair:first_client, client] = pairs
        cells[first_client:] = of_clients.T[of_client, :, None]
        return cells.reshape(len(asked), -1).T

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
        builder, places = self._places(clients, offers)
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

    def _narrow(self, builder: FeatureBuilder, asked: IntArray) -> _Narrowed:
        """A builder of what is asked for; there is one after another, as trees and catalogues change."""
        kept = self._narrowed
        if kept is None or kept[0] is not builder or kept[1] is not asked:
            first_pair, first_client = self._n_components, self._first_client
            names = [self.names[place] for place in asked]
            pair = [names[at] for at, place in enumerate(asked) if first_pair <= place < first_client]
            client = [
                names[at].removeprefix(_CLIENT) for at, place in enumerate(asked) if place >= first_client
            ]
            narrow = builder.narrowed(Asked(frozenset(client), frozenset(pair)))
            found = _Narrowed(narrow, _rows_of(narrow.spec.pair, pair), _rows_of(narrow.spec.client, client))
            # one assignment, so that threads never see half of it
            self._narrowed = kept = (builder, asked, found)
        return kept[2]

    def _places(self, clients: ClientBatch, offers: OfferIndex) -> tuple[FeatureBuilder, IntArray]:
        """The builder, and for each column its place among the builder's offers, their number = none."""
        builder = clients.features
        if builder is None or len(clients.moments) != len(clients):
            raise ValueError("the clients come without moments or features, which trees read")
        kept = self._aligned
        if kept is None or kept[0] is not builder or kept[1] is not offers:
            known = {offer_id: place for place, offer_id in enumerate(builder.offer_ids)}
            places = np.array(
                [known.get(offer_id, len(known)) for offer_id in offers.offer_ids], dtype=np.int64
            )
            # one assignment, so that threads never see half of it
            self._aligned = kept = (builder, offers, places)
        return builder, kept[2]


def _rows_of(features: Sequence[Feature], names: Sequence[str]) -> IntArray:
    places = {each.name: place for place, each in enumerate(features)}
    return np.array([places[name] for name in names], dtype=np.int64)

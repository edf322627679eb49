"""Clients and snapshots as arrays."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from recsys.data.snapshot import Snapshot
from recsys.domain import ClientId, ClientState, Holding, HoldingsKind, Offer, OfferId, Profile, Size
from recsys.models.base import ClientBatch, OfferIndex, TrainingSet, take_array

AS_OF = datetime(2025, 1, 1, tzinfo=UTC)
OFFERS = OfferIndex(["crm", "pbx", "sms"])


def _state(name: str, *held: str, profile: Profile | None = None) -> ClientState:
    holdings = tuple(
        Holding(f"{name}-{number}", OfferId(offer_id), AS_OF) for number, offer_id in enumerate(held)
    )
    return ClientState(ClientId(name), 1, profile, holdings)


STATES = (
    _state("a", "sms", "crm", "sms", profile=Profile(size=Size.MICRO)),
    _state("b"),
    _state("c", "withdrawn", "pbx"),
)


def _snapshot(demand: tuple[tuple[int, int], ...]) -> Snapshot:
    return Snapshot(
        as_of=AS_OF,
        states=STATES,
        offers=tuple(
            Offer(OfferId(offer_id), category=category)
            for offer_id, category in zip(OFFERS.offer_ids, ("work", None, "voice"), strict=True)
        ),
        demand=demand,
        holdings_kind=HoldingsKind.PURCHASES,
    )


def test_a_batch_holds_each_known_offer_once() -> None:
    batch = ClientBatch.from_states(STATES, OFFERS)
    assert batch.indptr.tolist() == [0, 2, 2, 3]
    assert batch.columns.tolist() == [0, 2, 1]
    assert batch.traits == (("size=micro",), (), ())
    assert batch.clients_by_offers().toarray().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_take_repeats_and_reorders() -> None:
    taken = ClientBatch.from_states(STATES, OFFERS).take([2, 0, 2])
    assert taken.clients_by_offers().toarray().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert taken.traits == ((), ("size=micro",), ())


def test_a_training_set_is_a_snapshot_as_arrays() -> None:
    training = TrainingSet.from_snapshot(_snapshot(((0, 2), (2, 1))), "offers: {}")
    assert training.offers == OFFERS
    assert training.as_of == AS_OF
    assert training.categories == ("work", None, "voice")
    assert training.expert_yaml == "offers: {}"
    assert training.demand.toarray().tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert training.clients.clients_by_offers().toarray().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_no_demand_is_an_empty_matrix() -> None:
    demand = TrainingSet.from_snapshot(_snapshot(())).demand
    assert demand.shape == (3, 3)
    assert demand.nnz == 0


@pytest.mark.parametrize(
    ("array", "said"),
    [
        pytest.param(None, "missing", id="absent"),
        pytest.param(np.zeros(2, dtype=np.int64), "missing", id="of another type"),
        pytest.param(np.zeros((2, 2)), "missing", id="of another dimension"),
        pytest.param(np.zeros(3), "shape", id="of another length"),
        pytest.param(np.array([0.0, np.inf]), "finite", id="not finite"),
    ],
)
def test_a_wrong_array_is_refused(array: np.ndarray | None, said: str) -> None:
    arrays = {} if array is None else {"x": array}
    with pytest.raises(ValueError, match=said):
        take_array(arrays, "x", (2,))

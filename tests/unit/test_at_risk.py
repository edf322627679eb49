"""Who could have what, by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import sparse

from recsys.domain import LegalForm, Offer
from recsys.models.at_risk import could_have
from recsys.models.base import ClientBatch, FirstConnections, OfferIndex, TrainingSet
from recsys.models.popularity import Popularity, PopularityParams
from recsys.models.profile import Profile

TRAITS = (("region=MOW", "legal_form=llc"), ("region=SPE", "legal_form=sole_trader"), ())


def _training(
    catalogue: tuple[Offer, ...], held: list[list[int]], *, history: tuple[tuple[int, int, float], ...] = ()
) -> TrainingSet:
    demand = sparse.csr_array(np.array(held, dtype=np.float64))
    traits = (TRAITS * len(held))[: len(held)]
    clients = ClientBatch(
        demand.indptr.astype(np.int64), demand.indices.astype(np.int64), traits, len(catalogue)
    )
    return TrainingSet(
        datetime(2025, 1, 1, tzinfo=UTC),
        OfferIndex([offer.offer_id for offer in catalogue]),
        clients,
        demand,
        history=FirstConnections.from_triples(history),
        catalogue=catalogue,
    )


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        pytest.param(Offer("a"), [True, True, True], id="nothing bars it"),
        pytest.param(Offer("a", regions=("MOW",)), [True, False, False], id="region"),
        pytest.param(Offer("a", legal_forms=(LegalForm.SOLE_TRADER,)), [False, True, False], id="form"),
        pytest.param(Offer("a", requires=(("b", "unknown"),)), [False, True, False], id="required"),
        pytest.param(Offer("a", excludes=("b",)), [True, False, True], id="excluded"),
        pytest.param(Offer("a", exclusive_slot="c"), [True, True, False], id="slot"),
    ],
)
def test_what_bars_an_offer(offer: Offer, expected: list[bool]) -> None:
    # the second client holds b, the third c, which fills the slot of its name
    catalogue = (offer, Offer("b"), Offer("c", exclusive_slot="c"))
    found = could_have(_training(catalogue, [[0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    assert found[:, 0].tolist() == expected


def test_what_is_or_was_held_could_be_had() -> None:
    catalogue = (Offer("a", regions=("MOW",)), Offer("b", excludes=("a",)))
    found = could_have(_training(catalogue, [[0, 0], [1, 0], [0, 0]], history=((2, 0, 9.0),)))
    assert found.tolist() == [[True, True], [True, False], [True, True]]


def test_the_edition_above_is_open_to_who_holds_the_one_below() -> None:
    catalogue = (Offer("a", exclusive_slot="s", upgrades_to="b"), Offer("b", exclusive_slot="s"))
    found = could_have(_training(catalogue, [[1, 0], [0, 1], [0, 0]]))
    assert found.tolist() == [[True, True], [False, True], [True, True]]


def test_rates_are_of_those_who_could() -> None:
    # b can be had by the one client with a, and is: its rate is high, its share of all a third
    catalogue = (Offer("a"), Offer("b", requires=(("a",),)))
    training, rng = _training(catalogue, [[1, 1], [0, 0], [0, 0]]), np.random.default_rng(1)
    plain = Popularity(PopularityParams(segment_by=())).fit(training, rng)
    among = Popularity(PopularityParams(segment_by=(), among_possible=True)).fit(training, rng)
    np.testing.assert_allclose(plain.score(training.clients)[0], [1 / 3, 1 / 3])
    # of both together two of four: (1 + ¼) / (3 + ½) and (1 + ¼) / (1 + ½)
    np.testing.assert_allclose(among.score(training.clients)[0], [1.25 / 3.5, 1.25 / 1.5])
    by_profile = Profile().fit(training, rng).score(training.clients)
    assert (by_profile[:, 1] > 2 * by_profile[:, 0]).all()

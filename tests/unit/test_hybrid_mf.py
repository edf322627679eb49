"""The LightFM hybrid: its formula by hand, and what it learns from profiles."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import sparse

from recsys.domain import Offer, OfferId
from recsys.models.base import ClientBatch, ClientFacts, Evidence, EvidenceKind, OfferIndex, TrainingSet
from recsys.models.hybrid_mf import HybridMf, HybridMfParams, _learnt_from


def _batch(holdings: np.ndarray, traits: list[tuple[str, ...]]) -> ClientBatch:
    held = sparse.csr_array(holdings)
    return ClientBatch(
        held.indptr.astype(np.int64), held.indices.astype(np.int64), tuple(traits), holdings.shape[1]
    )


def test_scores_and_reasons_by_hand() -> None:
    # facts: trait a, trait b, offers 0 and 1 held; a client with trait a and offer 0 is their mean
    arrays = {
        "traits": np.array(["a=1", "b=1"]),
        "facts": np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 2.0], [0.0, 0.0]]),
        "vectors": np.array([[1.0, 1.0], [2.0, 0.0]]),
        "biases": np.array([0.5, -0.5]),
        "together": np.array([[0, 40], [40, 0]], dtype=np.uint8),
        "n_with_trait": np.array([[0, 12], [0, 0]]),
    }
    model = HybridMf(HybridMfParams(n_factors=2)).restore(OfferIndex(["pbx", "sms"]), arrays)
    clients = _batch(np.array([[1.0, 0.0], [0.0, 0.0]]), [("a=1", "c=9"), ()])
    # ([1, 0] + [3, 2]) / 2 = [2, 1]: 2 + 1 + .5 and 4 − .5; nothing known leaves the biases
    np.testing.assert_allclose(model.score(clients), [[3.5, 3.5], [0.5, -0.5]])
    # to sms the holding adds 6 and the trait 2; to pbx nothing may be said
    facts, _ = ClientFacts.of_all(clients)
    assert list(model.explain(facts, 1)) == [
        Evidence(EvidenceKind.HOLDING, "pbx", 40),
        Evidence(EvidenceKind.TRAIT, "a=1", 12),
    ]
    assert list(model.explain(facts, 0)) == []


def test_no_offer_predicts_itself() -> None:
    rng = np.random.default_rng(4)
    holdings = sparse.csr_array((rng.random((50, 6)) < 0.5).astype(np.float64))
    known = sparse.csr_array(np.ones((50, 1)))
    facts, wanted = _learnt_from(known, holdings, rng)
    assert facts.shape == (150, 7)
    assert not (facts[:, 1:].toarray() * wanted.toarray()).any()
    np.testing.assert_allclose(facts.sum(axis=1), 1.0)
    halves = wanted.toarray().reshape(3, 50, 6)
    assert np.array_equal(halves[0] + halves[1], holdings.toarray())
    assert np.array_equal(halves[2], holdings.toarray())


def test_a_new_client_is_scored_by_its_profile() -> None:
    # farms hold the first three services, banks the last three
    rng = np.random.default_rng(5)
    is_farm = np.arange(200) % 2 == 0
    likes = np.where(is_farm[:, None] == (np.arange(6) < 3), 0.7, 0.05)
    holdings = (rng.random((200, 6)) < likes).astype(np.float64)
    traits: list[tuple[str, ...]] = [("industry=A",) if farm else ("industry=K",) for farm in is_farm]
    offers = OfferIndex([f"offer-{column}" for column in range(6)])
    clients = _batch(holdings, traits)
    catalogue = tuple(Offer(OfferId(offer_id), category="any") for offer_id in offers.offer_ids)
    training = TrainingSet(
        datetime(2025, 1, 1, tzinfo=UTC), offers, clients, clients.clients_by_offers(), catalogue=catalogue
    )
    model = HybridMf(HybridMfParams(n_factors=8)).fit(training, np.random.default_rng(1))
    farm, bank = model.score(_batch(np.zeros((2, 6)), [("industry=A",), ("industry=K",)]))
    assert farm[:3].min() > farm[3:].max()
    assert bank[3:].min() > bank[:3].max()


def test_other_factors_than_the_arrays_have_are_refused() -> None:
    with pytest.raises(ValueError, match="facts"):
        HybridMf().restore(OfferIndex(["pbx"]), {"traits": np.array(["a=1"])})

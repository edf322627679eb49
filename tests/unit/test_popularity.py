"""Popularity against figures computed by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import sparse

from recsys.models.base import ClientBatch, ClientFacts, Evidence, EvidenceKind, OfferIndex, TrainingSet
from recsys.models.popularity import Popularity, PopularityParams, common_evidence

OFFERS = OfferIndex(["a", "b"])
TRAITS = (("size=micro",), ("size=micro", "region=north"), ("size=small",), ())
# four clients: a is demanded by both micro companies and nobody else, b by everybody but the first
DEMAND = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])


def _clients(*traits: tuple[str, ...]) -> ClientBatch:
    n_clients = len(traits)
    return ClientBatch(np.zeros(n_clients + 1, dtype=np.int64), np.zeros(0, dtype=np.int64), traits, 2)


def _fitted(pseudo_clients: float, *segment_by: str) -> Popularity:
    training = TrainingSet(
        datetime(2025, 1, 1, tzinfo=UTC), OFFERS, _clients(*TRAITS), sparse.csr_array(DEMAND)
    )
    params = PopularityParams(segment_by=segment_by, pseudo_clients=pseudo_clients)
    return Popularity(params).fit(training, np.random.default_rng(0))


def test_without_segments_everybody_gets_the_whole() -> None:
    scores = _fitted(2.0).score(_clients(*TRAITS))
    np.testing.assert_allclose(scores, [[2 / 4, 3 / 4]] * 4)


def test_a_segment_is_shrunk_toward_the_whole() -> None:
    # micro: (2 + 2·½) / (2 + 2) of a, (1 + 2·¾) / (2 + 2) of b
    scores = _fitted(2.0, "size").score(_clients(("size=micro",)))
    np.testing.assert_allclose(scores, [[3 / 4, 2.5 / 4]])


def test_without_pseudo_clients_a_segment_has_its_own_share() -> None:
    scores = _fitted(0.0, "size").score(_clients(("size=micro",), ("size=small",)))
    np.testing.assert_allclose(scores, [[1.0, 1 / 2], [0.0, 1.0]], atol=1e-15)


def test_traits_multiply_their_lifts() -> None:
    # size=micro alone gives 1 and ½, region=north alone 1 and 1: lifts 2 and ⅔, 2 and 4/3
    scores = _fitted(0.0, "size", "region").score(_clients(("size=micro", "region=north")))
    np.testing.assert_allclose(scores, [[1 / 2 * 2 * 2, 3 / 4 * 2 / 3 * 4 / 3]])


def test_a_trait_nobody_had_in_training_counts_for_nothing() -> None:
    popularity = _fitted(2.0, "size")
    clients = _clients(("size=large",), ())
    np.testing.assert_allclose(popularity.score(clients), [[2 / 4, 3 / 4]] * 2)
    assert not popularity.has_segment(clients.traits[0])
    assert popularity.has_segment(("size=small",))


def test_an_offer_nobody_has_stays_at_zero() -> None:
    training = TrainingSet(
        datetime(2025, 1, 1, tzinfo=UTC), OFFERS, _clients(*TRAITS), sparse.csr_array((4, 2))
    )
    popularity = Popularity().fit(training, np.random.default_rng(0))
    np.testing.assert_array_equal(popularity.score(_clients(*TRAITS)), np.zeros((4, 2)))


def _explained(n_with: dict[str, tuple[int, int]], *asked: str) -> tuple[Evidence, ...]:
    """What a trait says of the first of eight offers, held by so many of so many clients of each trait."""
    traits = [(trait,) for trait, (_, n_clients) in n_with.items() for _ in range(n_clients)]
    demand = np.zeros((len(traits), 8))
    demand[:, 0] = [row < n for n, n_clients in n_with.values() for row in range(n_clients)]
    # three offers have more holders, four have none
    demand[:, 1:4] = 1.0
    n = np.zeros(len(traits) + 1, dtype=np.int64)
    clients = ClientBatch(n, n[:0], tuple(traits), 8)
    training = TrainingSet(
        datetime(2025, 1, 1, tzinfo=UTC),
        OfferIndex([f"offer-{column}" for column in range(8)]),
        clients,
        sparse.csr_array(demand),
    )
    popularity = Popularity(PopularityParams(segment_by=("size", "region"))).fit(
        training, np.random.default_rng(0)
    )
    return tuple(one for one in popularity.explain(ClientFacts(traits=asked), 0) if one.subject)


def test_evidence_is_a_trait_clearly_above_chance_with_the_clients_behind_it() -> None:
    # of 2,000 clients 100 have it; of the 200 small ones 10 would by chance, with a deviation of 2.92
    said = _explained({"size=small": (25, 200), "size=micro": (75, 1800)}, "size=small")
    assert said == (Evidence(EvidenceKind.TRAIT, "size=small", 25),)


@pytest.mark.parametrize(
    ("n_small", "n_micro"),
    [
        pytest.param((18, 200), (82, 1800), id="nine tenths above chance are chance"),
        pytest.param((9, 20), (91, 1980), id="fewer than ten clients"),
        pytest.param((5000, 10_000), (4200, 10_000), id="certain, but hardly more often"),
        pytest.param((0, 0), (100, 1800), id="nobody"),
    ],
)
def test_nothing_is_said_of_a_trait_otherwise(n_small: tuple[int, int], n_micro: tuple[int, int]) -> None:
    assert _explained({"size=small": n_small, "size=micro": n_micro}, "size=small") == ()


def test_the_trait_with_the_largest_lift_is_named() -> None:
    n_with = {"size=small": (60, 200), "region=north": (60, 150), "size=micro": (75, 2000)}
    said = _explained(n_with, "size=small", "region=north")
    assert [evidence.subject for evidence in said] == ["region=north"]


def test_popular_is_what_few_offers_surpass() -> None:
    # the offer of 74 holders on rank 83 of 102 is not popular, whoever asks
    n_holders = np.concatenate([np.arange(100, 182), [74], np.arange(20, 0, -1)])[:102]
    common = common_evidence(n_holders)
    popular = {column: one for column, one in common.items() if one.kind is EvidenceKind.POPULAR}
    assert common[82] == (EvidenceKind.CHOSEN, "", 74)
    assert len(popular) == 26
    assert {n_holders[column] for column in popular} == set(range(156, 182))
    assert len(common) == sum(n_holders >= 10)
    assert all(one[1:] == ("", n_holders[column]) for column, one in common.items())


@pytest.mark.parametrize(
    ("n_holders", "popular"),
    [
        ([], []),
        ([9], []),
        ([10], [0]),
        ([50, 50, 50, 50], [0, 1, 2, 3]),
        ([0, 40, 30, 20], [1]),
        ([0, 0, 0, 9], []),
    ],
)
def test_popular_needs_ten_holders_and_the_top_quarter(n_holders: list[int], popular: list[int]) -> None:
    found = common_evidence(np.array(n_holders, dtype=np.int64))
    assert [column for column, one in found.items() if one.kind is EvidenceKind.POPULAR] == popular
    assert sorted(found) == [column for column, n in enumerate(n_holders) if n >= 10]


def test_plain_counts_order_the_whole() -> None:
    rng = np.random.default_rng(4)
    demand = (rng.random((50, 2)) < [0.2, 0.6]).astype(float)
    clients = _clients(*([()] * 50))
    training = TrainingSet(datetime(2025, 1, 1, tzinfo=UTC), OFFERS, clients, sparse.csr_array(demand))
    scores = Popularity().fit(training, rng).score(clients)
    np.testing.assert_allclose(scores[0] * 50, demand.sum(axis=0), rtol=1e-12)


def test_negative_pseudo_clients_are_refused() -> None:
    with pytest.raises(ValueError, match="pseudo_clients"):
        PopularityParams(pseudo_clients=-1)

"""Leaning against figures computed by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import sparse

from recsys.models.base import ClientBatch, ClientFacts, EvidenceKind, OfferIndex, TrainingSet
from recsys.models.leaning import Leaning, LeaningParams
from recsys.models.popularity import Popularity, PopularityParams

OFFERS = OfferIndex(["a1", "a2", "b1", "b2", "c"])
CATEGORIES = ("a", "a", "b", "b", None)
PLAIN = LeaningParams(segment_by=(), pseudo_held=0.5)


def _batch(held: list[list[int]], traits: tuple[tuple[str, ...], ...] = ()) -> ClientBatch:
    pattern = sparse.csr_array(np.array(held, dtype=np.float64))
    return ClientBatch(
        pattern.indptr.astype(np.int64),
        pattern.indices.astype(np.int64),
        traits or ((),) * len(held),
        len(OFFERS),
    )


def _training(
    held: list[list[int]], categories: tuple[str | None, ...], traits: tuple[tuple[str, ...], ...] = ()
) -> TrainingSet:
    clients = _batch(held, traits)
    return TrainingSet(
        datetime(2025, 1, 1, tzinfo=UTC), OFFERS, clients, clients.clients_by_offers(), categories=categories
    )


def _fitted(
    held: list[list[int]],
    params: LeaningParams = PLAIN,
    categories: tuple[str | None, ...] = CATEGORIES,
    traits: tuple[tuple[str, ...], ...] = (),
) -> Leaning:
    return Leaning(params).fit(_training(held, categories, traits), np.random.default_rng(1))


# every offer but c is held by one client of four; nobody mixes categories
HELD = [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]


def test_who_holds_more_of_a_category_than_expected_leans_to_it() -> None:
    model = _fitted(HELD)
    kappa = 0.5
    plain = Popularity(PopularityParams(segment_by=(), among_possible=True))
    clients = _batch([[1, 0, 0, 0, 0]])
    training = TrainingSet(
        datetime(2025, 1, 1, tzinfo=UTC), OFFERS, _batch(HELD), _batch(HELD).clients_by_offers()
    )
    rates = plain.fit(training, np.random.default_rng(1)).score(clients)[0]
    # half a holding of a and of b is expected of anybody; one holding in all scales that by (1 + 1) ÷ (1 + 1)
    expected = 0.5
    of_a, of_b = (1.0 + kappa) / (expected + kappa), kappa / (expected + kappa)
    np.testing.assert_allclose(model.score(clients)[0], rates * [of_a, of_a, of_b, of_b, 1.0], rtol=1e-12)


def test_who_holds_as_everybody_leans_to_nothing() -> None:
    model = _fitted(HELD)
    both = model.score(_batch([[1, 0, 1, 0, 0]]))[0]
    assert both[0] == pytest.approx(both[2], rel=1e-12)
    assert both[1] == pytest.approx(both[3], rel=1e-12)


def test_a_segment_asked_again_and_fitted_anew_is_scored_afresh() -> None:
    traits = tuple([("size=micro",) if client % 2 else ("size=small",) for client in range(len(HELD))])
    params = LeaningParams(segment_by=("size",), pseudo_clients=1.0)
    asked = _batch(HELD, traits)
    model = _fitted(HELD, params, traits=traits)
    together = model.score(asked)
    alone = [model.score(asked.take([client]))[0] for client in range(len(HELD))]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert not np.allclose(together[2], together[3])
    others = [row[::-1] for row in HELD]
    again = model.fit(_training(others, CATEGORIES, traits), np.random.default_rng(1))
    np.testing.assert_array_equal(again.score(asked), _fitted(others, params, traits=traits).score(asked))


@pytest.mark.parametrize("categories", [(), (None,) * 5])
def test_without_categories_it_is_popularity(categories: tuple[str | None, ...]) -> None:
    model = _fitted(HELD, categories=categories)
    scores = model.score(_batch([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-12)


def test_a_reason_names_a_holding_of_the_category_and_nothing_of_another() -> None:
    # a1 with a2, b1 with b2, and a1 with b1 where nobody leans
    held = [[1, 1, 0, 0, 0]] * 20 + [[0, 0, 1, 1, 0]] * 20 + [[0, 0, 0, 0, 1]] * 60
    model, facts = _fitted(held), ClientFacts(held=(0,))
    said = [list(model.explain(facts, column)) for column in range(5)]
    subjects = [[one.subject for one in each if one.kind is EvidenceKind.HOLDING] for each in said]
    assert subjects == [[], ["a1"], [], [], []]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("category_of", np.array([9, 0, 0, 0, 0]), "more categories"),
        ("together", np.zeros((2, 2), dtype=np.uint8), "shape"),
        ("expected_shares", np.zeros(4), "shape"),
    ],
)
def test_broken_arrays_are_refused(name: str, value: np.ndarray, word: str) -> None:
    arrays = {**_fitted(HELD).to_arrays(), name: value}
    with pytest.raises(ValueError, match=word):
        Leaning(PLAIN).restore(OFFERS, arrays)


def test_without_pseudo_holdings_it_is_refused() -> None:
    with pytest.raises(ValueError, match="pseudo_held"):
        LeaningParams(pseudo_held=0)

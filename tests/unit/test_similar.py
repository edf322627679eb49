"""Similar offers: the words that describe them, and what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from scipy import sparse

from recsys.domain import Offer, OfferId
from recsys.models.base import ClientBatch, OfferIndex, TrainingSet
from recsys.models.similar import Similar, SimilarParams, words_of

CATALOGUE = (
    Offer(OfferId("a"), title={"en": "Red Retrospot Mug"}, category="kitchen"),
    Offer(OfferId("b"), title={"en": "red retrospot plate"}, category="kitchen"),
    Offer(OfferId("c"), title={"ru": "Облачная АТС"}, supplier_id="s1"),
    Offer(OfferId("d")),
)


def _fit(params: SimilarParams, catalogue: tuple[Offer, ...] = CATALOGUE) -> Similar:
    held = sparse.csr_array(np.eye(4))
    clients = ClientBatch(held.indptr.astype(np.int64), held.indices.astype(np.int64), ((),) * 4, 4)
    training = TrainingSet(
        datetime(2025, 1, 1, tzinfo=UTC), OfferIndex(list("abcd")), clients, held, catalogue=catalogue
    )
    return Similar(params).fit(training, np.random.default_rng(0))


def test_words_of_titles_in_every_language_and_of_the_shelf() -> None:
    assert list(words_of(CATALOGUE[0])) == ["red", "retrospot", "mug", "category=kitchen"]
    assert list(words_of(CATALOGUE[2])) == ["облачная", "атс", "supplier=s1"]
    assert list(words_of(CATALOGUE[3])) == []


def test_similarity_by_hand() -> None:
    # a and b share three words of weight log 2 and have one of weight log 4 each: 3 / (3 + 4)
    weights = _fit(SimilarParams()).to_arrays()["weights"]
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 0] = 3 / 7
    np.testing.assert_allclose(weights, expected, atol=1e-12)


def test_little_similarity_is_none() -> None:
    assert not np.any(_fit(SimilarParams(min_similarity=0.5)).to_arrays()["weights"])


def test_without_a_catalogue_nothing_is_similar() -> None:
    assert not np.any(_fit(SimilarParams(), ()).to_arrays()["weights"])

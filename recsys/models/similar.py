"""Similar offers: those described in the same words as what a client holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import RunConfig
from recsys.domain import Offer
from recsys.models.base import FloatArray, TrainingSet
from recsys.models.item_to_item import ItemToItem

_WORD = re.compile(r"\w+")


class SimilarParams(RunConfig):
    """Parameters of `Similar`.

    Attributes:
        min_similarity: Offers less similar than this count as not similar at all, 0–1: a rare word in
            common is often chance.
    """

    min_similarity: float = Field(default=0.3, ge=0, le=1)


class Similar(ItemToItem):
    """Similarity of descriptions, which needs nobody to have held an offer before.

    An offer is described by the words of its titles and by its category, need group and supplier. With
    ``idf(w) = log(n_offers / offers described by w)`` as the weight of a word, ``W[i, j]`` is the cosine of
    the two descriptions where it reaches `min_similarity`, else 0, and ``W[i, i] = 0``.

    Source:
        Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval".
    """

    name: ClassVar[str] = "similar"

    def __init__(self, params: SimilarParams | None = None) -> None:
        self.params = params or SimilarParams()

    def _learn(self, training: TrainingSet) -> FloatArray:
        n_offers = len(training.offers)
        descriptions: list[set[str]] = [set() for _ in range(n_offers)]
        for words, offer in zip(descriptions, training.catalogue, strict=False):
            words.update(words_of(offer))
        weights = similarity(descriptions)
        weights[weights < self.params.min_similarity] = 0.0
        return weights


def words_of(offer: Offer) -> Iterator[str]:
    """The words that describe an offer; what it is filed under is a word that no title holds."""
    for title in offer.title.values():
        yield from _WORD.findall(title.lower())
    for key, value in (
        ("category", offer.category),
        ("need_group", offer.need_group),
        ("supplier", offer.supplier_id),
    ):
        if value is not None:
            yield f"{key}={value}"


def similarity(descriptions: list[set[str]]) -> FloatArray:
    """Cosine of descriptions after weighting words by their rarity.

    Args:
        descriptions: The words of each offer.

    Returns:
        0–1 with a zero diagonal, shape (n_offers, n_offers).

    Example:
        Of four offers two share the only word they have, a third has it beside a rarer one: its weights are
        log(4/3) and log(4).

        >>> similarity([{"red"}, {"red"}, {"red", "mug"}, set()]).round(3)
        array([[0.   , 1.   , 0.203, 0.   ],
               [1.   , 0.   , 0.203, 0.   ],
               [0.203, 0.203, 0.   , 0.   ],
               [0.   , 0.   , 0.   , 0.   ]])
    """
    places = {word: place for place, word in enumerate(sorted(set().union(*descriptions)))}
    sizes = [len(words) for words in descriptions]
    columns = [places[word] for words in descriptions for word in sorted(words)]
    pattern = sparse.csr_array(
        (np.ones(len(columns)), (np.repeat(np.arange(len(descriptions)), sizes), columns)),
        shape=(len(descriptions), len(places)),
    )
    rarity = np.log(len(descriptions) / np.maximum(np.bincount(columns, minlength=len(places)), 1))
    weighted = sparse.csr_array(pattern @ sparse.diags_array(rarity))
    lengths = np.sqrt(np.asarray((weighted * weighted).sum(axis=1)))
    unit = sparse.diags_array(1.0 / np.where(lengths > 0, lengths, 1.0)) @ weighted
    found: FloatArray = (unit @ unit.T).toarray()
    np.fill_diagonal(found, 0.0)
    return found

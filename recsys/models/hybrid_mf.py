"""Hybrid matrix factorisation (LightFM): a client is its profile and its services, an offer is what it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import RunConfig
from recsys.models.base import (
    Arrays,
    ClientBatch,
    ClientFacts,
    Evidence,
    EvidenceKind,
    FittedOffers,
    FloatArray,
    FrozenArrays,
    IntArray,
    OfferIndex,
    TrainingSet,
    take_array,
    take_counts,
)
from recsys.models.chance import CountArray, held_together, is_clearly_above
from recsys.models.similar import words_of

_MAX_SAID = 2


class HybridMfParams(RunConfig):
    """Parameters of `HybridMf`.

    Attributes:
        n_factors: Length of every vector.
        n_epochs: Passes over the holdings.
        learning_rate: First step of Adagrad, >0.
        l2: Ridge penalty of every vector, ≥0.
        n_sampled: Offers drawn in search of one that is ranked too high, ≥1.
    """

    n_factors: int = Field(default=32, ge=1, le=1_024)
    n_epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    l2: float = Field(default=1e-5, ge=0)
    n_sampled: int = Field(default=20, ge=1)


class HybridMf(FittedOffers):
    """Vectors of facts, learnt with the WARP loss of LightFM.

    A client's facts F are the traits of its profile and the offers it holds, and

    ``score(client, j) = (1 / |F|) Σ_{f∈F} e_f · v_j + b_j``,

    where v_j and b_j average over what describes the offer: itself, its words, category, need group and
    supplier. So a new client is scored by its profile, and a new service counts at once. That no offer may
    predict itself, every client is learnt from three times: by its profile and one random half of its
    holdings, which must predict the other half, the other way round, and by its profile alone.

    Source:
        Kula 2015, "Metadata embeddings for user and item cold-start recommendations"; Weston, Bengio &
        Usunier 2011, "WSABIE: scaling up to large vocabulary image annotation", algorithm 1 (WARP).
    """

    name: ClassVar[str] = "hybrid_mf"
    reads_holdings: ClassVar[bool] = True
    reads_profiles: ClassVar[bool] = True

    def __init__(self, params: HybridMfParams | None = None) -> None:
        self.params = params or HybridMfParams()
        self._keep((), np.zeros((0, 1)), np.zeros((0, 1)), np.zeros(0))
        self._count(np.zeros((0, 0), dtype=np.uint8), np.zeros((0, 0), dtype=np.int64))

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:
        """Learn the vectors from present holdings; returns self."""
        clients, holdings = training.clients, training.clients.clients_by_offers()
        traits = tuple(sorted({trait for known in clients.traits for trait in known}))
        n_facts, n_offers, n_factors = (
            len(traits) + len(training.offers),
            len(training.offers),
            self.params.n_factors,
        )
        facts, vectors, biases = (
            np.zeros((n_facts, n_factors)),
            np.zeros((n_offers, n_factors)),
            np.zeros(n_offers),
        )
        if holdings.nnz:
            known = _trait_pattern(clients, {trait: row for row, trait in enumerate(traits)})
            facts, vectors, biases = self._learn(known, holdings, _descriptions(training), rng)
        self._keep(traits, facts, vectors, biases)
        self._count(held_together(holdings), _clear_counts(clients, traits, holdings))
        self._offers = training.offers
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Mean of the facts' vectors times the offers', shape (n_clients, n_offers)."""
        self.check_batch(clients)
        facts = _averaged(_side_by_side(_trait_pattern(clients, self._rows), clients.clients_by_offers()))
        scores: FloatArray = (facts @ self._facts) @ self._vectors.T + self._biases
        return scores

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """The facts that add most to the score, of those clearly above chance among its holders."""
        offer_ids, n_traits = self.offers.offer_ids, len(self._traits)
        known = [self._rows[trait] for trait in facts.traits if trait in self._rows]
        true = [
            Evidence(EvidenceKind.TRAIT, self._traits[row], self._n_with_trait.item(row, column))
            for row in known
        ]
        true += [
            Evidence(EvidenceKind.HOLDING, offer_ids[held], self._together.item(held, column))
            for held in facts.held
        ]
        rows = [*known, *[n_traits + held for held in facts.held]]
        gains = (self._facts[rows] @ self._vectors[column]).tolist()
        strongest = sorted(range(len(true)), key=gains.__getitem__, reverse=True)
        said = [true[place] for place in strongest if true[place].n_clients and gains[place] > 0]
        yield from said[:_MAX_SAID]

    def to_arrays(self) -> Arrays:
        """``traits``, ``facts`` (of traits, then of offers held), ``vectors``, ``biases``, and the counts."""
        self.check_fitted()
        return {
            "traits": np.array(self._traits, dtype=np.str_),
            "facts": self._facts,
            "vectors": self._vectors,
            "biases": self._biases,
            "together": self._together,
            "n_with_trait": self._n_with_trait,
        }

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        traits, n_offers = tuple(str(name) for name in arrays["traits"]), len(offers)
        self._keep(
            traits,
            take_array(arrays, "facts", (len(traits) + n_offers, self.params.n_factors)),
            take_array(arrays, "vectors", (n_offers, self.params.n_factors)),
            take_array(arrays, "biases", (n_offers,)),
        )
        self._count(
            take_counts(arrays, "together", (n_offers, n_offers), np.uint8),
            take_counts(arrays, "n_with_trait", (len(traits), n_offers), np.int64),
        )
        self._offers = offers
        return self

    def _keep(
        self, traits: tuple[str, ...], facts: FloatArray, vectors: FloatArray, biases: FloatArray
    ) -> None:
        self._traits, self._facts, self._vectors, self._biases = traits, facts, vectors, biases
        self._rows = {trait: row for row, trait in enumerate(traits)}

    def _count(self, together: CountArray, n_with_trait: IntArray) -> None:
        self._together, self._n_with_trait = together, n_with_trait

    def _learn(
        self,
        known: sparse.csr_array,
        holdings: sparse.csr_array,
        descriptions: sparse.csr_array,
        rng: np.random.Generator,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Vectors of facts, vectors of offers, and the offers' biases."""
        # imported here because scoring a loaded bundle must not need the library
        from lightfm import LightFM  # noqa: PLC0415

        facts, wanted = _learnt_from(known, holdings, rng)
        model = LightFM(
            no_components=self.params.n_factors,
            loss="warp",
            learning_rate=self.params.learning_rate,
            item_alpha=self.params.l2,
            user_alpha=self.params.l2,
            max_sampled=self.params.n_sampled,
            random_state=int(rng.integers(2**31)),
        )
        described = _as_floats(descriptions)
        # one thread: the order of the steps, and so the vectors, must not depend on the machine's load
        model.fit(
            sparse.coo_matrix(_as_floats(wanted)),
            user_features=_as_floats(facts),
            item_features=described,
            epochs=self.params.n_epochs,
            num_threads=1,
        )
        biases, vectors = model.get_item_representations(described)
        found = model.user_embeddings.astype(np.float64)
        return found, np.asarray(vectors, dtype=np.float64), np.asarray(biases, dtype=np.float64)


def _learnt_from(
    known: sparse.csr_array, holdings: sparse.csr_array, rng: np.random.Generator
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Facts and what they must predict, three rows for each client."""
    is_first = rng.random(holdings.nnz) < 0.5
    halves = []
    for kept in (is_first, ~is_first):
        half = holdings.copy()
        half.data = kept.astype(np.float64)
        half.eliminate_zeros()
        halves.append(half)
    nothing = sparse.csr_array(holdings.shape)
    facts = [_side_by_side(known, given) for given in (*halves, nothing)]
    wanted = sparse.vstack([*halves[::-1], holdings], format="csr")
    return _averaged(sparse.csr_array(sparse.vstack(facts, format="csr"))), sparse.csr_array(wanted)


def _descriptions(training: TrainingSet) -> sparse.csr_array:
    """What describes each offer: itself, then its words; rows add up to 1."""
    n_offers = len(training.offers)
    words = [sorted(set(words_of(offer))) for offer in training.catalogue] or [[]] * n_offers
    places = {word: place for place, word in enumerate(sorted({word for one in words for word in one}))}
    columns = [places[word] for one in words for word in one]
    rows = np.repeat(np.arange(n_offers), [len(one) for one in words])
    said = sparse.csr_array((np.ones(len(columns)), (rows, columns)), shape=(n_offers, len(places)))
    return _averaged(_side_by_side(sparse.csr_array(sparse.eye_array(n_offers)), said))


def _trait_pattern(clients: ClientBatch, rows: dict[str, int]) -> sparse.csr_array:
    """Which client has which trait, binary, shape (n_clients, n_traits)."""
    columns = [[rows[trait] for trait in traits if trait in rows] for traits in clients.traits]
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in columns], dtype=np.int64)])
    indices = np.array([column for one in columns for column in one], dtype=np.int64)
    return sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=(len(clients), len(rows)))


def _clear_counts(clients: ClientBatch, traits: Sequence[str], holdings: sparse.csr_array) -> IntArray:
    """Clients with each trait that hold each offer, 0 where that is not clearly above chance."""
    clients_by_traits = _trait_pattern(clients, {trait: row for row, trait in enumerate(traits)})
    n_both = (clients_by_traits.T @ holdings).toarray()
    n_with_trait = np.asarray(clients_by_traits.sum(axis=0))[:, None]
    is_said = is_clearly_above(n_both, n_with_trait, np.asarray(holdings.sum(axis=0)), len(clients))
    return np.where(is_said, n_both, 0).astype(np.int64)


def _side_by_side(left: sparse.csr_array, right: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(sparse.hstack([left, right], format="csr"))


def _as_floats(rows: sparse.csr_array) -> sparse.csr_matrix:
    """The same matrix in the types that the library's compiled code reads."""
    data, indices, indptr = rows.data.astype(np.float32), rows.indices.astype(np.int32), rows.indptr
    return sparse.csr_matrix((data, indices, indptr.astype(np.int32)), shape=rows.shape)


def _averaged(rows: sparse.csr_array) -> sparse.csr_array:
    """Rows that add up to 1; a row of zeros stays one."""
    totals = np.asarray(rows.sum(axis=1))
    return sparse.csr_array(sparse.diags_array(1.0 / np.where(totals > 0, totals, 1.0)) @ rows)

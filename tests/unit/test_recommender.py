"""The recommender: who is scored by what, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import sparse

from recsys.domain import Basis, ClientId, ClientState, Holding, OfferId, Profile, Size, Target
from recsys.models.base import ClientBatch, ClientFacts, EvidenceKind, OfferIndex, TrainingSet
from recsys.models.calibration import Calibration
from recsys.models.ease import Ease
from recsys.models.leaning import Leaning
from recsys.models.popularity import Popularity
from recsys.models.recommender import Recommender, score_clients

AS_OF = datetime(2025, 1, 1, tzinfo=UTC)
OFFERS = OfferIndex([f"offer-{column}" for column in range(6)])
LOW = Calibration(np.array([-10.0, 10.0]), np.array([0.01, 0.02]))
HIGH = Calibration(np.array([-10.0, 10.0]), np.array([0.5, 0.6]))


def _state(name: str, held: tuple[int, ...] = (), profile: Profile | None = None) -> ClientState:
    holdings = tuple(Holding(f"{name}-{column}", OfferId(OFFERS.offer_ids[column]), AS_OF) for column in held)
    return ClientState(ClientId(name), 1, profile, holdings)


MICRO = Profile(size=Size.MICRO)
WITH_HOLDINGS = _state("holder", (0, 2), MICRO)
WITH_PROFILE = _state("prospect", (), MICRO)
WITH_UNREAD_PROFILE = _state("stranger", (), Profile(region="north"))
UNKNOWN = _state("unknown")
HOLDER_OF_UNKNOWN = ClientState(ClientId("other"), 1, None, (Holding("h", OfferId("withdrawn"), AS_OF),))


def _batch(*states: ClientState) -> ClientBatch:
    return ClientBatch.from_states(states, OFFERS)


def _training() -> TrainingSet:
    rng = np.random.default_rng(2)
    sizes = (Size.MICRO, Size.SMALL)
    clients = _batch(
        *(
            # micro companies, those of even number, lean to even offers
            _state(
                str(number),
                tuple(np.flatnonzero(rng.random(6) < np.where(np.arange(6) % 2 == number % 2, 0.6, 0.2))),
                Profile(size=sizes[number % 2]),
            )
            for number in range(400)
        )
    )
    return TrainingSet(AS_OF, OFFERS, clients, clients.clients_by_offers())


@pytest.fixture(scope="module")
def ease() -> Ease:
    return Ease().fit(_training(), np.random.default_rng(0))


@pytest.fixture(scope="module")
def popularity() -> Popularity:
    return Popularity().fit(_training(), np.random.default_rng(0))


def test_each_client_is_scored_on_the_best_ground(ease: Ease, popularity: Popularity) -> None:
    recommender = Recommender(ease, popularity, LOW, HIGH)
    clients = _batch(WITH_HOLDINGS, WITH_PROFILE, WITH_UNREAD_PROFILE, UNKNOWN, HOLDER_OF_UNKNOWN)
    prediction = recommender.predict(clients)
    assert prediction.bases == (
        Basis.HOLDINGS,
        Basis.PROFILE,
        Basis.POPULATION,
        Basis.POPULATION,
        Basis.POPULATION,
    )
    np.testing.assert_array_equal(prediction.scores[:1], ease.score(clients.take([0])))
    np.testing.assert_array_equal(prediction.scores[1:], popularity.score(clients.take([1, 2, 3, 4])))
    assert (prediction.probabilities[0] < 0.1).all()
    assert (prediction.probabilities[1:] > 0.4).all()
    np.testing.assert_array_equal(score_clients(ease, popularity, clients), prediction.scores)


def test_the_unknown_client_gets_the_whole(ease: Ease, popularity: Popularity) -> None:
    scores = Recommender(ease, popularity, LOW, HIGH).predict(_batch(UNKNOWN)).scores
    counts = np.asarray(_training().demand.sum(axis=0))
    np.testing.assert_allclose(scores[0] * 400, counts)


def test_one_at_a_time_equals_all_together(ease: Ease, popularity: Popularity) -> None:
    recommender = Recommender(ease, popularity, LOW, HIGH)
    clients = _batch(WITH_PROFILE, WITH_HOLDINGS, UNKNOWN)
    together = recommender.predict(clients)
    for client in range(3):
        alone = recommender.predict(clients.take([client]))
        np.testing.assert_allclose(alone.scores[0], together.scores[client], rtol=1e-12)
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[client], rtol=1e-12)
        assert alone.bases == together.bases[client : client + 1]


def test_a_model_of_profiles_scores_everybody(popularity: Popularity) -> None:
    recommender = Recommender(popularity, popularity, LOW, HIGH)
    prediction = recommender.predict(_batch(WITH_HOLDINGS, WITH_PROFILE, UNKNOWN))
    assert prediction.bases == (Basis.PROFILE, Basis.PROFILE, Basis.POPULATION)
    assert (prediction.probabilities < 0.1).all()


def test_a_model_of_holdings_and_profiles_has_a_calibration_for_clients_without_holdings(
    popularity: Popularity,
) -> None:
    leaning = Leaning().fit(_training(), np.random.default_rng(0))
    clients = _batch(WITH_PROFILE, WITH_HOLDINGS, UNKNOWN, HOLDER_OF_UNKNOWN)
    prediction = Recommender(leaning, popularity, LOW, HIGH).predict(clients)
    np.testing.assert_array_equal(prediction.scores, leaning.score(clients))
    assert (prediction.probabilities < 0.1).all(axis=1).tolist() == [False, True, False, False]
    assert (prediction.probabilities[[0, 2, 3]] > 0.4).all()
    with pytest.raises(ValueError, match="needs a fallback"):
        Recommender(leaning, popularity, LOW, None)


def test_reasons_come_from_what_scored(ease: Ease, popularity: Popularity) -> None:
    recommender = Recommender(ease, popularity, LOW, HIGH, Target.ADOPTION)
    clients = _batch(WITH_HOLDINGS, WITH_PROFILE, UNKNOWN)
    kinds = [
        {evidence.kind for column in range(6) for evidence in recommender.explain(facts, column)}
        for facts in ClientFacts.of_all(clients)
    ]
    common = {EvidenceKind.POPULAR, EvidenceKind.CHOSEN}
    assert kinds == [{EvidenceKind.HOLDING, *common}, {EvidenceKind.TRAIT, *common}, common]


def test_what_is_common_is_said_last_and_of_the_same_offers_whoever_asks(
    ease: Ease, popularity: Popularity
) -> None:
    recommender = Recommender(ease, popularity, LOW, HIGH)
    clients = _batch(WITH_HOLDINGS, WITH_PROFILE, UNKNOWN)
    for facts in ClientFacts.of_all(clients):
        found = [list(recommender.explain(facts, column)) for column in range(6)]
        last = {column: said[-1] for column, said in enumerate(found) if said}
        common = {column: one for column, one in last.items() if not one.subject}
        assert common == popularity.common != {}


def test_no_clients_no_predictions(ease: Ease, popularity: Popularity) -> None:
    prediction = Recommender(ease, popularity, LOW, HIGH).predict(_batch())
    assert prediction.scores.shape == prediction.probabilities.shape == (0, 6)
    assert prediction.bases == ()


def test_models_of_different_catalogues_are_refused(ease: Ease) -> None:
    other = OfferIndex(["x"])
    clients = ClientBatch.from_states([], other)
    training = TrainingSet(AS_OF, other, clients, sparse.csr_array((0, 1)))
    with pytest.raises(ValueError, match="different offers"):
        Recommender(ease, Popularity().fit(training, np.random.default_rng(0)), LOW, HIGH)

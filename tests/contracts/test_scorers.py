"""What every scorer must keep, run on every model of the registry."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain

import numpy as np
import pytest

from recsys.domain import (
    ClientId,
    ClientState,
    Holding,
    LegalForm,
    Offer,
    OfferId,
    Profile,
    Size,
    Stage,
    Target,
)
from recsys.errors import NotFittedError, UnknownOfferError
from recsys.features.builder import FeatureBuilder
from recsys.features.population import fit_population
from recsys.models.base import (
    ClientBatch,
    ClientFacts,
    Evidence,
    EvidenceKind,
    FirstConnections,
    OfferIndex,
    PastWindow,
    Scorer,
    TrainingSet,
)
from recsys.models.chance import MIN_COHORT, MIN_LIFT
from recsys.models.registry import MODELS, make_scorer

AS_OF = datetime(2025, 1, 1, tzinfo=UTC)
OFFERS = OfferIndex([f"offer-{column:02}" for column in range(14)])
CATEGORIES = ("voice",) * 5 + ("data",) * 5 + (None,) * 4
EXPERT = """
offers:
  offer-00: {base: 1.0, stage: {growth: 0.5}, size: {micro: -0.2}}
  offer-03: {industry: {G: 0.7, J: 0.1}}
categories:
  voice: {base: 0.25, stage: {steady: 0.5}}
"""


def _state(number: int, rng: np.random.Generator) -> ClientState:
    """Clients of even number lean to even offers; every ninth holds nothing, every tenth has no profile."""
    weights = np.where(np.arange(14) % 2 == number % 2, 4.0, 1.0)
    n_held = 0 if number % 9 == 0 else int(rng.integers(1, 6))
    held = rng.choice(14, n_held, replace=False, p=weights / weights.sum())
    profile = Profile(
        size=(Size.MICRO, Size.SMALL)[number % 2],
        n_employees=(5, 40)[number % 2],
        industry=("G", "J", None)[number % 3],
        stage=(Stage.GROWTH, Stage.STEADY)[number % 2],
        legal_form=LegalForm.LLC,
        tags=("crm=none",),
    )
    return ClientState(
        client_id=ClientId(f"client-{number}"),
        profile=None if number % 10 == 0 else profile,
        holdings=tuple(
            Holding(
                f"{number}-{column}",
                OfferId(OFFERS.offer_ids[column]),
                AS_OF - timedelta(days=10 * number % 170),
            )
            for column in held
        ),
    )


CATALOGUE = tuple(
    Offer(OfferId(offer_id), category=category, need_group=f"group-{column % 3}")
    for column, (offer_id, category) in enumerate(zip(OFFERS.offer_ids, CATEGORIES, strict=True))
)


def _batch(states: list[ClientState], at: datetime = AS_OF) -> ClientBatch:
    population = fit_population(states, CATALOGUE, at)
    return ClientBatch.from_states(states, OFFERS, at, FeatureBuilder(CATALOGUE, population))


def _training(seed: int = 5, n_clients: int = 360, n_windows: int = 4) -> TrainingSet:
    rng = np.random.default_rng(seed)
    clients = _batch([_state(number, rng) for number in range(n_clients)])
    training = TrainingSet(
        as_of=AS_OF,
        offers=OFFERS,
        clients=clients,
        demand=clients.clients_by_offers(),
        categories=CATEGORIES,
        expert_yaml=EXPERT,
        catalogue=CATALOGUE,
        history=FirstConnections(
            np.repeat(np.arange(n_clients), np.diff(clients.indptr)), clients.columns, clients.ages
        ),
    )
    windows = [_window(training, rng, number) for number in range(n_windows)]
    return replace(training, past=tuple(windows))


def _window(training: TrainingSet, rng: np.random.Generator, number: int) -> PastWindow:
    """Offers seen: those of a client's own parity are accepted, and the more so by the micro companies."""
    n = 4 * len(training.clients)
    rows, columns = np.sort(rng.integers(0, len(training.clients), n)), rng.integers(0, 14, n)
    is_liked = columns % 2 == rows % 2
    chances = 0.05 + 0.25 * is_liked * (1 + (rows % 2 == 0))
    return PastWindow(
        training=replace(training, as_of=AS_OF - timedelta(days=30 * (6 - number))),
        clients=training.clients,
        rows=rows,
        columns=columns,
        outcomes=(rng.random(n) < chances).astype(np.float64),
        keep_rates=np.ones(n),
        slots=rng.integers(1, 4, n),
        logging_probabilities=np.full(n, np.nan),
        target=Target.ACCEPTANCE,
    )


TRAINING = _training()
CLIENTS = TRAINING.clients
FACTS = ClientFacts.of_all(CLIENTS)


@pytest.fixture(scope="module", params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def fitted(name: str) -> Scorer:
    return make_scorer(name).fit(TRAINING, np.random.default_rng(1))


def _said(scorer: Scorer, facts: ClientFacts) -> list[list[Evidence]]:
    return [list(scorer.explain(facts, column)) for column in range(len(OFFERS))]


def _same(left: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)


def test_is_a_scorer_under_its_own_name(name: str, fitted: Scorer) -> None:
    assert isinstance(fitted, Scorer)
    assert fitted.name == name


def test_fit_returns_self(name: str) -> None:
    scorer = make_scorer(name)
    assert scorer.fit(TRAINING, np.random.default_rng(1)) is scorer


def test_fit_score_and_explain_leave_their_input_unchanged(name: str) -> None:
    training, untouched = _training(), _training()
    scorer = make_scorer(name).fit(training, np.random.default_rng(1))
    scorer.score(training.clients)
    _said(scorer, ClientFacts.of_all(training.clients)[1])
    assert np.array_equal(training.clients.columns, untouched.clients.columns)
    assert np.array_equal(training.clients.indptr, untouched.clients.indptr)
    assert training.clients.traits == untouched.clients.traits
    assert np.array_equal(training.demand.toarray(), untouched.demand.toarray())


def test_scores_do_not_change_what_is_kept(fitted: Scorer) -> None:
    first = fitted.score(CLIENTS)
    first[:] = -1.0
    one = fitted.score(CLIENTS.take([1]))
    one[:] = -1.0
    assert not np.array_equal(fitted.score(CLIENTS), first)
    assert not np.array_equal(fitted.score(CLIENTS.take([1])), one)


def test_same_seed_same_scores(name: str, fitted: Scorer) -> None:
    again = make_scorer(name).fit(_training(), np.random.default_rng(1))
    assert np.array_equal(again.score(CLIENTS), fitted.score(CLIENTS))


def test_refit_equals_a_fresh_fit(name: str, fitted: Scorer) -> None:
    scorer = make_scorer(name).fit(_training(seed=6, n_clients=40), np.random.default_rng(2))
    refitted = scorer.fit(TRAINING, np.random.default_rng(1))
    assert np.array_equal(refitted.score(CLIENTS), fitted.score(CLIENTS))


def test_restored_arrays_give_equal_scores_and_reasons(name: str, fitted: Scorer) -> None:
    restored = make_scorer(name).restore(OFFERS, fitted.to_arrays())
    assert np.array_equal(restored.score(CLIENTS), fitted.score(CLIENTS))
    assert _said(restored, FACTS[1]) == _said(fitted, FACTS[1])


def test_arrays_are_plain(fitted: Scorer) -> None:
    for array in fitted.to_arrays().values():
        assert array.dtype.kind in "fiuU"


def test_arrays_of_another_catalogue_are_refused(name: str, fitted: Scorer) -> None:
    with pytest.raises(ValueError, match="shape"):
        make_scorer(name).restore(OfferIndex(OFFERS.offer_ids[1:]), fitted.to_arrays())


def test_batch_equals_single(fitted: Scorer) -> None:
    batch = fitted.score(CLIENTS)
    for client in range(len(CLIENTS)):
        _same(fitted.score(CLIENTS.take([client]))[0], batch[client])


def test_a_permutation_of_clients_permutes_the_scores(fitted: Scorer) -> None:
    order = np.random.default_rng(3).permutation(len(CLIENTS))
    _same(fitted.score(CLIENTS.take(order)), fitted.score(CLIENTS)[order])


def test_unknown_offer_is_the_named_error(fitted: Scorer) -> None:
    with pytest.raises(UnknownOfferError, match="offer-99"):
        fitted.offers.column_of("offer-99")


def test_asked_before_fit_is_the_named_error(name: str) -> None:
    scorer = make_scorer(name)
    with pytest.raises(NotFittedError, match=name):
        scorer.score(CLIENTS)
    with pytest.raises(NotFittedError, match=name):
        list(scorer.explain(FACTS[0], 0))
    with pytest.raises(NotFittedError, match=name):
        scorer.to_arrays()
    with pytest.raises(NotFittedError, match=name):
        _ = scorer.offers


def test_clients_of_another_catalogue_are_refused(fitted: Scorer) -> None:
    with pytest.raises(ValueError, match="14"):
        fitted.score(ClientBatch.from_states([], OfferIndex(["a"])))


def test_scores_are_finite_and_shaped(fitted: Scorer) -> None:
    scores = fitted.score(CLIENTS)
    assert scores.shape == (len(CLIENTS), len(OFFERS))
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


def test_evidence_names_what_the_client_has(fitted: Scorer) -> None:
    for client in range(20):
        held = {OFFERS.offer_ids[column] for column in CLIENTS.columns_of(client)}
        for evidence in chain.from_iterable(_said(fitted, FACTS[client])):
            if evidence.kind is EvidenceKind.HOLDING:
                assert evidence.subject in held
            elif evidence.kind is EvidenceKind.TRAIT:
                assert evidence.subject in CLIENTS.traits[client]
            else:
                assert evidence.subject == ""


def test_facts_are_what_a_client_holds_and_is() -> None:
    for client, facts in enumerate(FACTS):
        assert facts.held == tuple(CLIENTS.columns_of(client).tolist())
        assert facts.traits == CLIENTS.traits[client]


def test_evidence_counts_the_clients_it_rests_on(fitted: Scorer) -> None:
    held = CLIENTS.clients_by_offers().toarray() > 0
    n_said = 0
    for client in range(len(CLIENTS)):
        for column, said in enumerate(_said(fitted, FACTS[client])):
            for evidence in said:
                if evidence.n_clients is None:
                    continue
                with_subject = np.array([evidence.subject in traits for traits in CLIENTS.traits])
                if evidence.kind is EvidenceKind.HOLDING:
                    with_subject = held[:, OFFERS.column_of(evidence.subject)]
                elif not evidence.subject:
                    with_subject = np.ones(len(CLIENTS), dtype=bool)
                both = with_subject & held[:, column]
                assert evidence.n_clients == both.sum() >= MIN_COHORT
                if evidence.subject:
                    assert both.sum() / with_subject.sum() >= MIN_LIFT * held[:, column].mean()
                n_said += 1
    assert (n_said > 0) == (fitted.name != "expert"), "nobody was counted for the weights of an expert"


def test_how_common_an_offer_is_comes_last_and_is_the_same_for_everybody(fitted: Scorer) -> None:
    common: dict[int, set[Evidence]] = {}
    for facts in FACTS[:20]:
        for column, said in enumerate(_said(fitted, facts)):
            assert all(one.subject for one in said[:-1])
            common.setdefault(column, set()).update(one for one in said if not one.subject)
    assert all(len(found) <= 1 for found in common.values())
    kinds = {one.kind for found in common.values() for one in found}
    assert kinds in (set(), {EvidenceKind.POPULAR, EvidenceKind.CHOSEN})


def test_nothing_is_said_on_few_clients(name: str) -> None:
    training = _training(n_clients=12)
    scorer = make_scorer(name).fit(training, np.random.default_rng(1))
    for facts in ClientFacts.of_all(training.clients):
        for evidence in chain.from_iterable(_said(scorer, facts)):
            assert evidence.n_clients is None


def test_some_score_is_explained_by_more_than_popularity(fitted: Scorer) -> None:
    kinds = {evidence.kind for facts in FACTS[1:9] for evidence in chain.from_iterable(_said(fitted, facts))}
    assert not fitted.reads_holdings or EvidenceKind.HOLDING in kinds
    assert not fitted.reads_profiles or EvidenceKind.TRAIT in kinds


def test_a_client_without_holdings_is_scored(fitted: Scorer) -> None:
    nobody = ClientState(ClientId("new"))
    scores = fitted.score(ClientBatch.from_states([nobody], OFFERS, AS_OF, CLIENTS.features))
    assert scores.shape == (1, len(OFFERS))
    assert np.isfinite(scores).all()
    assert (np.ptp(scores) > 0) == fitted.reads_profiles


def test_a_new_holding_changes_the_scores_without_fitting(fitted: Scorer) -> None:
    before = fitted.score(CLIENTS.take([9]))
    holding = Holding("new", OfferId("offer-01"), AS_OF)
    state = ClientState(ClientId("client-9"), profile=_state(9, np.random.default_rng(0)).profile)
    holder = ClientState(state.client_id, 1, state.profile, (holding,))
    after = fitted.score(ClientBatch.from_states([holder], OFFERS, AS_OF, CLIENTS.features))
    assert np.array_equal(before, after) == (not fitted.reads_holdings)


def test_no_clients_get_no_scores(fitted: Scorer) -> None:
    assert fitted.score(ClientBatch.from_states([], OFFERS)).shape == (0, len(OFFERS))


def test_fits_on_nobody(name: str) -> None:
    nobody = ClientBatch.from_states([], OFFERS)
    training = TrainingSet(AS_OF, OFFERS, nobody, nobody.clients_by_offers(), TRAINING.categories, EXPERT)
    scores = make_scorer(name).fit(training, np.random.default_rng(1)).score(CLIENTS)
    assert np.isfinite(scores).all()


def test_log_odds_are_calibrated(fitted: Scorer) -> None:
    if not fitted.gives_log_odds:
        return
    last = TRAINING.past[-1]
    seen = fitted.score(last.clients)[last.rows, last.columns]
    assert 1 / (1 + np.exp(-seen)).mean() > 0
    assert (1 / (1 + np.exp(-seen))).sum() == pytest.approx(last.outcomes.sum(), rel=0.15)


def test_fits_where_nobody_holds_anything(name: str) -> None:
    profiles = ClientBatch.from_states([ClientState(ClientId(str(number))) for number in range(5)], OFFERS)
    training = TrainingSet(AS_OF, OFFERS, profiles, profiles.clients_by_offers(), TRAINING.categories, EXPERT)
    scores = make_scorer(name).fit(training, np.random.default_rng(1)).score(CLIENTS)
    assert np.isfinite(scores).all()

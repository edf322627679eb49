"""Who holds what is counted after the start where models decide, and before it where holders do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recsys.decision.conditions.facts import Moment
from recsys.domain import ClientId, ClientState, Profile
from recsys.experiments.experiment import HOLDOUT_ID, Experiment, Holdout, Status
from recsys.experiments.life import Standing
from serving import background
from serving.app import create_app
from serving.orders import ExperimentOrder
from serving.ports import PutClient
from serving.services.scoring import Scoring
from serving.services.world import Ranking
from serving.settings import Settings
from serving.storage.memory import MemoryStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
OFFERS = ("crm", "disk", "mail", "pbx")
N_CLIENTS = 12


class CountedStore(MemoryStore):
    """Tells how often holders were counted, and does something during a count."""

    def __init__(self) -> None:
        super().__init__()
        self.n_counts = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def holder_counts(self) -> dict[str, int]:
        self.n_counts += 1
        counts = super().holder_counts()
        self.meanwhile()
        return counts


@pytest.fixture
def store() -> CountedStore:
    """Twelve clients; all but one hold the mail."""
    store = CountedStore()
    store.upsert_rows(
        "offers", [{"offer_id": each, "kind": "own", "recorded_at": NOW} for each in OFFERS], NOW
    )
    for number in range(N_CLIENTS):
        store.commit([PutClient(ClientId(f"c-{number}"), Profile(), NOW)])
    store.upsert_rows("holdings", [held(number, "mail") for number in range(N_CLIENTS - 1)], NOW)
    return store


@pytest.fixture
def scoring(store: CountedStore, tmp_path: Path, new_bundle: Callable[..., str]) -> Scoring:
    new_bundle(tmp_path, OFFERS, "crm")
    return Scoring(store, tmp_path, UTC, cache_size=20)


def held(number: int, offer_id: str) -> dict[str, object]:
    return {
        "holding_id": f"h-{offer_id}-{number}",
        "client_id": f"c-{number}",
        "offer_id": offer_id,
        "connected_at": NOW,
        "disconnected_at": None,
        "recorded_at": NOW,
    }


def hold_out(store: MemoryStore) -> None:
    document = Holdout(share=0.1).model_dump_json()
    store.put_experiment(ExperimentOrder(HOLDOUT_ID, 1, Status.RUNNING, document, "test", "", NOW))


def compare_with_models(store: MemoryStore, bundle_version: str) -> None:
    arms = [
        {"name": "control", "weight": 0.5},
        {"name": "other", "weight": 0.5, "bundle_version": bundle_version},
    ]
    primary = {"name": "taken", "measure": "activations"}
    texts = {"title": "t", "hypothesis": "h", "owner": "o", "minimum_effect": 0.1, "primary": primary}
    document = Experiment.model_validate({"experiment_id": "models", "arms": arms, **texts})
    standing = Standing(
        experiment=document, status=Status.RUNNING, started_at=NOW, coverage=document.coverage
    )
    order = ExperimentOrder("models", 1, Status.RUNNING, standing.model_dump_json(), "test", "", NOW)
    store.put_experiment(order)


def ranking_of_arm(scoring: Scoring, arm: str) -> Ranking:
    trials = scoring.world.trials
    assert trials is not None
    clients = (ClientState(ClientId(f"c-{number}")) for number in range(N_CLIENTS))
    each = (trials.enrol(client, (), (), Moment(NOW)) for client in clients)
    return trials.world_of(next(arms for arms in each if arms[0].arm == arm)).ranking


def most_held(scoring: Scoring) -> str:
    world = scoring.world
    return world.catalogue.offer_ids[int(world.ranking.fallback.estimate.order[0])]


def test_a_start_with_models_is_ready_before_holders_are_counted(
    scoring: Scoring, store: CountedStore
) -> None:
    scoring.refresh(NOW)
    started = scoring.world.ranking
    assert (store.n_counts, started.is_counted, dict(started.common)) == (0, False, {})
    scoring.count_holders()
    assert scoring.world.ranking is started, "the look alone swaps worlds"
    scoring.refresh(NOW)
    counted = scoring.world.ranking
    assert (most_held(scoring), list(counted.common)) == ("mail", [OFFERS.index("mail")])
    assert (counted.scorer, counted.cache) == (started.scorer, started.cache)
    scoring.count_holders()
    scoring.refresh(NOW)
    assert scoring.world.ranking is counted
    assert store.n_counts == 1


def test_without_models_holders_are_counted_first(store: CountedStore) -> None:
    scoring = Scoring(store, None, UTC, cache_size=20)
    scoring.refresh(NOW)
    assert (store.n_counts, most_held(scoring)) == (1, "mail")


@pytest.mark.parametrize("is_earlier", [True, False])
def test_who_is_held_out_gets_the_order_of_holders_at_once(
    scoring: Scoring, store: CountedStore, is_earlier: bool
) -> None:
    if not is_earlier:
        scoring.refresh(NOW)
    hold_out(store)
    scoring.refresh(NOW)
    assert (store.n_counts, most_held(scoring)) == (1, "mail")
    trials = scoring.world.trials
    assert trials is not None
    assert trials.holdout is not None


def test_the_models_of_an_arm_and_their_scores_outlive_the_count(
    scoring: Scoring, store: CountedStore, tmp_path: Path, new_bundle: Callable[..., str]
) -> None:
    compare_with_models(store, new_bundle(tmp_path, OFFERS, "disk", "other"))
    scoring.refresh(NOW)
    started = ranking_of_arm(scoring, "other")
    assert (started.scorer is scoring.world.ranking.scorer, started.is_counted) == (False, False)
    scoring.count_holders()
    scoring.refresh(NOW)
    counted = ranking_of_arm(scoring, "other")
    assert (counted.scorer, counted.cache) == (started.scorer, started.cache)
    assert counted.fallback is scoring.world.ranking.fallback
    assert counted.is_counted


def test_a_count_that_a_load_overtook_is_dropped(scoring: Scoring, store: CountedStore) -> None:
    def load() -> None:
        store.meanwhile = lambda: None
        rows = [held(number, "disk") for number in range(N_CLIENTS)]
        store.upsert_rows("holdings", rows, NOW)
        store.put_documents({"dataset.toml": 'currency = "RUB"\n'})
        scoring.refresh(NOW)

    scoring.refresh(NOW)
    store.meanwhile = load
    scoring.count_holders()
    for _ in range(2):
        scoring.refresh(NOW)
        assert most_held(scoring) == "disk"


def test_a_count_that_failed_is_made_again(
    scoring: Scoring, store: CountedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise TimeoutError("every connection is taken")

    scoring.refresh(NOW)
    with monkeypatch.context() as patch:
        patch.setattr(store, "meanwhile", fail)
        with pytest.raises(TimeoutError):
            scoring.count_holders()
    scoring.refresh(NOW)
    assert not scoring.world.ranking.is_counted
    scoring.count_holders()
    scoring.refresh(NOW)
    assert most_held(scoring) == "mail"


def test_a_server_counts_beside_its_answers(
    store: CountedStore, tmp_path: Path, new_bundle: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "SECONDS_BETWEEN_LOOKS", 0.001)
    new_bundle(tmp_path, OFFERS, "crm")
    app = create_app(Settings(bundles_dir=tmp_path), store)

    async def live() -> None:
        async with app.router.lifespan_context(app), asyncio.timeout(30):
            while not app.state.services.scoring.world.ranking.is_counted:
                await asyncio.sleep(0.001)

    asyncio.run(live())
    assert most_held(app.state.services.scoring) == "mail"

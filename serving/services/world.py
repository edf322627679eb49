"""What every request reads and none changes: catalogue, placements, models, all of one version."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from recsys.bundle import Bundle
from recsys.decision.arbitration import Alignment, Estimate, fallback_estimate, rank
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.engine import Engine
from recsys.decision.volume import VolumeCaps
from recsys.domain import Basis, ClientId, ClientState, HoldingsKind
from recsys.features.builder import FeatureBuilder
from recsys.models.base import ClientBatch, Evidence
from recsys.models.popularity import popular_evidence
from serving.ports import ContentVersion, Store

_NO_CURRENCY = "XXX"


@dataclass(frozen=True, slots=True)
class Scored:
    """A client's estimate and what is needed to explain it.

    Attributes:
        estimate: By position of the catalogue.
        batch: The client as the model read it; None in the cache, which would grow by half, and without
            a model.
        evidence: What was found out so far, by position; empty where the model has nothing to say.
    """

    estimate: Estimate
    batch: ClientBatch | None = None
    evidence: dict[int, tuple[Evidence, ...]] = field(default_factory=dict)


class BundleScorer:
    """A bundle aligned with a catalogue."""

    def __init__(self, bundle: Bundle, catalogue: CompiledCatalogue) -> None:
        self.version = bundle.version
        self._recommender = bundle.recommender
        self._alignment = Alignment(catalogue, self._recommender.offers)
        self.nobody = ClientState(ClientId(""))
        self.population = self.score(self.nobody)

    def score(self, state: ClientState) -> Scored:
        """Score one client for every offer of the catalogue."""
        batch = ClientBatch.from_states((state,), self._recommender.offers)
        prediction = self._recommender.predict(batch)
        probabilities = self._alignment.align(prediction.probabilities[0])
        scores = self._alignment.align(prediction.scores[0])
        basis = prediction.bases[0]
        estimate = Estimate(
            probabilities=probabilities,
            order=rank(probabilities, scores),
            basis=basis,
            target=self._recommender.target,
            is_personalised=basis is not Basis.POPULATION,
            is_unknown=self._alignment.is_unknown,
        )
        return Scored(estimate, batch)

    def explain(self, scored: Scored, state: ClientState, positions: list[int]) -> None:
        """Add to the scores' evidence what is true of these positions."""
        missing = [position for position in positions if position not in scored.evidence]
        columns = self._alignment.columns_of(missing)
        scored.evidence.update(dict.fromkeys(missing, ()))
        if columns:
            batch = scored.batch or ClientBatch.from_states((state,), self._recommender.offers)
            asked = np.array(list(columns.values()), dtype=np.int64)
            found = self._recommender.explain(batch, 0, asked)
            scored.evidence.update(zip(columns, found, strict=True))


class ScoreCache:
    """Scores by client, as long as what models read of it has not changed; the longest unused go first.

    Models read profile and holdings. An impression is a new version of the state and leaves both alone.
    """

    def __init__(self, max_clients: int) -> None:
        self._max_clients = max_clients
        self._scored: dict[str, tuple[int, Scored]] = {}
        self.n_hits = 0
        self.n_misses = 0

    def get(self, state: ClientState) -> Scored | None:
        """The scores of this profile and these holdings."""
        entry = self._scored.get(state.client_id)
        if entry is None or entry[0] != _mark(state):
            self.n_misses += 1
            return None
        self.n_hits += 1
        self._scored[state.client_id] = self._scored.pop(state.client_id)
        return entry[1]

    def put(self, state: ClientState, scored: Scored) -> None:
        """Keep the scores of a state."""
        if self._max_clients == 0:
            return
        self._scored.pop(state.client_id, None)
        if len(self._scored) >= self._max_clients:
            del self._scored[next(iter(self._scored))]
        self._scored[state.client_id] = (_mark(state), replace(scored, batch=None))


def _mark(state: ClientState) -> int:
    """What tells apart states that models may score differently."""
    return hash((state.profile, state.holdings))


@dataclass(frozen=True, slots=True)
class Ranking:
    """What orders the offers: models and holders. Neither a policy nor a stop changes it.

    Attributes:
        bundle: The models it was made of; None for none.
        bundle_fault: Why there are none; None when there are some.
        fallback: The order without models.
        popular: What may be said without models, by position.
        cache: Scores of these models.
        features: Builds what models read of a client.
        scorer: The models, aligned with the offers; None when there are none to use.
        degraded: Why there is no scorer; None when there is one.
    """

    bundle: Bundle | None
    bundle_fault: str | None
    fallback: Scored
    popular: Mapping[int, tuple[Evidence, ...]]
    cache: ScoreCache
    features: FeatureBuilder
    scorer: BundleScorer | None = None
    degraded: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    """One consistent version of everything that is shared by requests.

    Attributes:
        content_version: The store's mark of catalogue, policy and stops.
        engine: The policy in force, compiled with the catalogue.
        volume_caps: The policy's caps over all clients.
        currency: ISO code of every price; None when the data names none.
        holdings: What a holding is in this data.
        ranking: What orders the offers.
    """

    content_version: ContentVersion
    engine: Engine
    volume_caps: VolumeCaps
    currency: str | None
    holdings: HoldingsKind
    ranking: Ranking

    @property
    def catalogue(self) -> CompiledCatalogue:
        """The offers, compiled."""
        return self.engine.catalogue

    @property
    def policy_version(self) -> str:
        """Version of the policy in force."""
        return self.engine.policy.version

    @property
    def bundle_version(self) -> str | None:
        """Version of the models in use."""
        return None if self.ranking.scorer is None else self.ranking.scorer.version


def build_ranking(
    store: Store,
    catalogue: CompiledCatalogue,
    bundle: Bundle | None,
    bundle_fault: str | None,
    cache_size: int,
) -> Ranking:
    """Count the holders, which takes seconds where there are many, and align the models.

    Args:
        store: Where the holdings live.
        catalogue: The offers.
        bundle: The models; None for none.
        bundle_fault: Why there are none.
        cache_size: Clients whose scores are kept.

    Raises:
        Exception: Whatever models do that load but do not score.
    """
    counts = store.holder_counts()
    n_holders = np.array([counts.get(offer_id, 0) for offer_id in catalogue.offer_ids], dtype=np.int64)
    return Ranking(
        bundle=bundle,
        bundle_fault=bundle_fault,
        fallback=Scored(fallback_estimate(catalogue, counts)),
        popular={position: (one,) for position, one in popular_evidence(n_holders).items()},
        cache=ScoreCache(cache_size),
        features=FeatureBuilder(catalogue.offers, None if bundle is None else bundle.population),
        scorer=None if bundle is None else BundleScorer(bundle, catalogue),
        degraded=bundle_fault,
    )


def build_world(
    store: Store,
    content_version: ContentVersion,
    engine: Engine,
    ranking: Ranking,
) -> World:
    """Put together what requests share.

    Args:
        store: Where the documents live.
        content_version: The store's mark, read before anything else was.
        engine: The policy in force, compiled with the catalogue.
        ranking: What orders its offers.
    """
    meta = tomllib.loads(store.documents().get("dataset.toml", ""))
    currency = str(meta.get("currency", _NO_CURRENCY))
    return World(
        content_version=content_version,
        engine=engine,
        volume_caps=VolumeCaps(engine.policy.engagement.volume_caps, engine.catalogue, engine.zone),
        currency=None if currency == _NO_CURRENCY else currency,
        holdings=HoldingsKind(meta.get("holdings", HoldingsKind.SUBSCRIPTIONS)),
        ranking=ranking,
    )

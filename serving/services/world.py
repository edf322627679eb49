"""What every request reads and none changes: catalogue, placements, models, all of one version."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from recsys.bundle import Bundle
from recsys.decision.arbitration import Alignment, Estimate, fallback_estimate, rank
from recsys.decision.catalogue import CompiledCatalogue, OfferText
from recsys.decision.engine import Engine
from recsys.decision.volume import VolumeCaps
from recsys.domain import Basis, ClientId, ClientState, HoldingsKind, Language
from recsys.features.builder import FeatureBuilder
from recsys.models.base import ClientBatch, ClientFacts, Evidence
from recsys.models.popularity import common_evidence
from recsys.models.recommender import scoring_moment
from serving.orders import ContentVersion
from serving.ports import Store
from serving.telemetry import log

if TYPE_CHECKING:  # experiments are made of worlds
    from serving.services.trials import Trials

_NO_CURRENCY = "XXX"
_NOBODY = ClientFacts()


@dataclass(frozen=True, slots=True)
class Scored:
    """A client's estimate and what is needed to explain it.

    Attributes:
        estimate: By position of the catalogue.
        facts: Of what the models read; of nobody where there are none.
        told: By position what was asked of its evidence so far, for the same is asked again and again, and
            whether there is no more.
    """

    estimate: Estimate
    facts: ClientFacts = _NOBODY
    told: dict[int, tuple[tuple[Evidence, ...], bool]] = field(default_factory=dict)


class BundleScorer:
    """A bundle aligned with a catalogue.

    Attributes:
        bundle: The bundle.
        version: Its version.
        features: Builds what models read of a client.
        reference: How features and scores were distributed at the fit; None = nobody counted.
        population: Scores of a client of whom nothing is known, at the bundle's as_of.
    """

    def __init__(self, bundle: Bundle, catalogue: CompiledCatalogue) -> None:
        self.bundle = bundle
        self.version = bundle.version
        self.features = FeatureBuilder(catalogue.offers, bundle.population)
        self._recommender = bundle.recommender
        main = bundle.recommender.main
        self._is_timed = main.reads_past or main.reads_profiles
        self._alignment = Alignment(catalogue, self._recommender.offers)
        self.reference = None if bundle.population is None else bundle.population.reference
        self.population = self.score(ClientState(ClientId("")), bundle.manifest.as_of)

    def score(self, state: ClientState, now: datetime) -> Scored:
        """Score one client for every offer of the catalogue."""
        return self.score_all((state,), now)[0]

    def score_all(self, states: Sequence[ClientState], now: datetime) -> list[Scored]:
        """Score clients, ≥1, for every offer of the catalogue."""
        moment = scoring_moment(now)
        batch = ClientBatch.from_states(states, self._recommender.offers, moment, self.features)
        prediction = self._recommender.predict(batch)
        align = self._alignment.align
        probabilities = align(prediction.probabilities)
        orders = rank(probabilities, align(prediction.scores))
        of_clients = zip(probabilities, orders, prediction.bases, ClientFacts.of_all(batch), strict=True)
        return [
            Scored(
                Estimate(
                    probabilities=of_client.copy(),
                    order=order.copy(),
                    basis=basis,
                    target=self._recommender.target,
                    is_personalised=basis is not Basis.POPULATION,
                    is_unknown=self._alignment.is_unknown,
                ),
                facts,
            )
            for of_client, order, basis, facts in of_clients
        ]

    def mark(self, state: ClientState, now: datetime) -> int:
        """What tells apart states that the models may score differently.

        Models of holdings read profile and holdings: an impression is a new version of the state and leaves
        both alone. Others may read everything, and the time by the hour.
        """
        if self._is_timed:
            return hash((state.version, scoring_moment(now)))
        return hash((state.profile, state.holdings))

    def explain(self, scored: Scored, position: int) -> Iterator[Evidence]:
        """What is true of a position for a client, the strongest first, found out as it is asked for.

        Where the models fail at it nothing more is said: an offer without evidence is better than no list.
        """
        told, is_all = scored.told.get(position, ((), False))
        yield from told
        column = self._alignment.column_of.get(position)
        if is_all or column is None:
            return
        try:
            for one in islice(self._recommender.explain(scored.facts, column), len(told), None):
                told = (*told, one)
                scored.told[position] = told, False
                yield one
        except Exception as error:  # noqa: BLE001 -- whatever a model does, the client gets a list
            log("explaining_failed", level=logging.ERROR, error=error, bundle=self.version)
        scored.told[position] = told, True


class ScoreCache:
    """Scores by client, as long as what models read of it has not changed; the longest unused go first."""

    def __init__(self, max_clients: int) -> None:
        self._max_clients = max_clients
        self._scored: dict[str, tuple[int, Scored]] = {}
        self.n_hits = 0
        self.n_misses = 0

    def get(self, client_id: str, mark: int) -> Scored | None:
        """The scores of a client whose mark is still that; see `BundleScorer.mark`."""
        entry = self._scored.get(client_id)
        if entry is None or entry[0] != mark:
            self.n_misses += 1
            return None
        self.n_hits += 1
        self._scored[client_id] = self._scored.pop(client_id)
        return entry[1]

    def latest(self, n_most: int) -> list[str]:
        """The clients asked for last, the latest first; may be called from another thread."""
        return list(self._scored)[: -n_most - 1 : -1]

    def put(self, client_id: str, mark: int, scored: Scored) -> None:
        """Keep the scores of a client."""
        if self._max_clients == 0:
            return
        self._scored.pop(client_id, None)
        if len(self._scored) >= self._max_clients:
            del self._scored[next(iter(self._scored))]
        self._scored[client_id] = (mark, scored)


@dataclass(frozen=True, slots=True)
class Ranking:
    """What orders the offers: models and holders. Neither a policy nor a stop changes it.

    Attributes:
        bundle: The models it was made of; None for none.
        bundle_fault: Why there are none; None when there are some.
        fallback: The order without models: that of the catalogue until the holders are counted.
        common: What may be said without models, by position; nothing until the holders are counted.
        cache: Scores of these models.
        features: Builds what models read of a client.
        scorer: The models, aligned with the offers; None when there are none to use.
        degraded: Why there is no scorer; None when there is one.
        is_counted: Whether the holders are counted.
    """

    bundle: Bundle | None
    bundle_fault: str | None
    fallback: Scored
    common: Mapping[int, tuple[Evidence, ...]]
    cache: ScoreCache
    features: FeatureBuilder
    scorer: BundleScorer | None = None
    degraded: str | None = None
    is_counted: bool = False

    def evidence_of(self, scored: Scored) -> Callable[[int], Iterable[Evidence]]:
        """What tells of a position what is true of it for a client; see `BundleScorer.explain`."""
        if scored.estimate.target is None or self.scorer is None:
            return lambda position: self.common.get(position, ())
        return partial(self.scorer.explain, scored)


@dataclass(frozen=True, slots=True)
class World:
    """One consistent version of everything that is shared by requests.

    Attributes:
        content_version: The store's mark of catalogue, policy, stops and experiments.
        engine: The policy in force, compiled with the catalogue.
        volume_caps: The policy's caps over all clients.
        currency: ISO code of every price; None when the data names none.
        holdings: What a holding is in this data.
        ranking: What orders the offers.
        texts: What is shown of the offers, by position.
        trials: The experiments that run beside it, and the hold-out; None = nothing of the kind.
        shadow: Models that are scored beside those in use, and shown to nobody; None = there are none.
        base: Of the world of an experiment's arm what is in force; None of what is in force itself.
    """

    content_version: ContentVersion
    engine: Engine
    volume_caps: VolumeCaps
    currency: str | None
    holdings: HoldingsKind
    ranking: Ranking
    texts: Mapping[Language, tuple[OfferText, ...]]
    trials: Trials | None = None
    shadow: BundleScorer | None = None
    base: World | None = None

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
    counts: Mapping[str, int] | None,
    catalogue: CompiledCatalogue,
    bundle: Bundle | None,
    bundle_fault: str | None,
    cache_size: int,
) -> Ranking:
    """Align the models with the offers; nothing here reads the store, so what fails are the models.

    Args:
        counts: Holders by offer_id; None = they are counted later, see `with_holders`.
        catalogue: The offers.
        bundle: The models; None for none.
        bundle_fault: Why there are none.
        cache_size: Clients whose scores are kept.

    Raises:
        Exception: Whatever models do that load but do not score.
    """
    scorer = None if bundle is None else BundleScorer(bundle, catalogue)
    ranking = Ranking(
        bundle=bundle,
        bundle_fault=bundle_fault,
        fallback=Scored(fallback_estimate(catalogue, {})),
        common={},
        cache=ScoreCache(cache_size),
        features=FeatureBuilder(catalogue.offers) if scorer is None else scorer.features,
        scorer=scorer,
        degraded=bundle_fault,
    )
    return ranking if counts is None else with_holders(ranking, catalogue, counts)


def with_holders(ranking: Ranking, catalogue: CompiledCatalogue, counts: Mapping[str, int]) -> Ranking:
    """The ranking with what holders say of these offers, by offer_id; its models and their scores stay."""
    n_holders = np.array([counts.get(offer_id, 0) for offer_id in catalogue.offer_ids], dtype=np.int64)
    return replace(
        ranking,
        fallback=Scored(fallback_estimate(catalogue, counts)),
        common={position: (one,) for position, one in common_evidence(n_holders).items()},
        is_counted=True,
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
        texts=engine.catalogue.texts,
    )

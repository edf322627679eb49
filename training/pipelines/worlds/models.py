"""Models in worlds whose truth is known: how near they come to the oracle, and what their lists bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from recsys.data.dataset import Dataset, DatasetMeta
from recsys.evaluation.ranking import find_hits, ndcg, rank_top_k
from recsys.models.base import ClientBatch, FloatArray, TrainingSet
from recsys.simulation.catalogue import Catalogue
from recsys.simulation.lists import Lists
from recsys.simulation.record import record_world
from recsys.simulation.rollout import Aim, Policy, Request, Rollout, Rollouts, top_lists
from recsys.simulation.truth import Truth
from recsys.simulation.world import World
from training.pipelines.evaluation.contestants import Predict, contestant
from training.pipelines.evaluation.cuts import CutTruth, take_cut, take_training

ORACLE = "oracle"
K = 10
MONTHS_TO_GO = (10, 7, 4, 2)
HORIZON_DAYS = 59  # two months, whichever they are
ROLLOUT_MONTHS = 6
_N_FUTURES = 3
_N_ERRORS = 3
_WORST = -1e9


@dataclass(frozen=True, slots=True)
class PairedValues:
    """A figure of several models on the same subjects, with means that can be compared subject by subject.

    Attributes:
        values: By model, shape (n_subjects,); `ORACLE` may be one of them.
    """

    values: Mapping[str, FloatArray]

    @property
    def models(self) -> tuple[str, ...]:
        """Every model but the oracle."""
        return tuple(name for name in self.values if name != ORACLE)

    def mean(self, model: str) -> float:
        """The model's mean."""
        return float(self.values[model].mean())

    def best(self) -> str:
        """The best model but the oracle."""
        return max(self.models, key=self.mean)

    def share(self, model: str) -> tuple[float, float]:
        """The model's mean as a share of the oracle's, and its standard error.

        The error is that of a ratio of means of paired values (delta method):
        ``s = sd(x - r y) / (mean(y) √n)`` with r the ratio.

        Source:
            Cochran: Sampling Techniques, 3rd edition, 1977, section 6.3.
        """
        of_model, of_oracle = self.values[model], self.values[ORACLE]
        ratio = float(of_model.mean() / of_oracle.mean())
        spread = float(np.std(of_model - ratio * of_oracle, ddof=1))
        return ratio, spread / float(of_oracle.mean() * len(of_oracle) ** 0.5)

    def is_better(self, one: str, other: str) -> bool:
        """Whether one model's mean is above the other's by more than three standard errors."""
        difference = self.values[one] - self.values[other]
        error = float(np.std(difference, ddof=1)) / len(difference) ** 0.5
        return bool(float(difference.mean()) > _N_ERRORS * error)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two figures rank models.

    Attributes:
        kendall: Kendall's τ of the means, -1–1.
        spearman: Spearman's ρ of the means, -1–1.
        contradictions: Pairs that the first figure orders one way and the second the other way, each by more
            than three standard errors: (better by the first, better by the second).
    """

    kendall: float
    spearman: float
    contradictions: tuple[tuple[str, str], ...]


def agreement(first: PairedValues, second: PairedValues) -> Agreement:
    """Compare two rankings of the same models; the oracle is left out.

    Example:
        >>> low, high = np.zeros(9), np.ones(9)
        >>> one = PairedValues({"a": low, "b": high})
        >>> agreement(one, PairedValues({"a": high, "b": low})).contradictions
        (('b', 'a'),)
    """
    means = [[figure.mean(name) for name in first.models] for figure in (first, second)]
    pairs = [*combinations(first.models, 2), *combinations(reversed(first.models), 2)]
    return Agreement(
        kendall=float(stats.kendalltau(*means).statistic),
        spearman=float(stats.spearmanr(*means).statistic),
        contradictions=tuple(
            (one, other)
            for one, other in pairs
            if first.is_better(one, other) and second.is_better(other, one)
        ),
    )


def pool(parts: Sequence[PairedValues]) -> PairedValues:
    """The same models over the subjects of several lives."""
    return PairedValues(
        {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
    )


def live(world: World, catalogue: Catalogue, expert_yaml: str | None = None) -> Dataset:
    """A world's tables, in memory.

    Args:
        world: The world.
        catalogue: Its catalogue.
        expert_yaml: The expert's weights, for the model ``expert``.
    """
    return Dataset(
        meta=DatasetMeta(name=world.name, currency=world.currency, time_zone=world.time_zone),
        tables=record_world(world, catalogue, lambda _: None),
        documents={} if expert_yaml is None else {"expert.yaml": expert_yaml},
    )


def score_offline(
    world: World, catalogue: Catalogue, dataset: Dataset, models: Sequence[str]
) -> PairedValues:
    """NDCG@10 of models and of the oracle at four cuts of a world's last year, one value per (client, cut).

    What a client first connects within two months of a cut is relevant. The oracle ranks by the true
    probability of that.

    Args:
        world: The world, of at least a year.
        catalogue: Its catalogue.
        dataset: Its tables, as `live` gives them.
        models: Names of models.
    """
    truth = Truth(world, catalogue)
    values: dict[str, list[FloatArray]] = {name: [np.zeros(0)] for name in (*models, ORACLE)}
    for cut in _cuts(world, truth, dataset):
        for name, scores in _scores(cut, models, _oracle(cut, truth)):
            scores[cut.seen[cut.adopters].nonzero()] = -np.inf
            values[name].append(ndcg(find_hits(rank_top_k(scores, K), cut.relevant[cut.adopters])))
    return PairedValues({name: np.concatenate(parts) for name, parts in values.items()})


def _cuts(world: World, truth: Truth, dataset: Dataset) -> Iterator[CutTruth]:
    for to_go in MONTHS_TO_GO:
        cut = truth.starts_at(world.n_months - to_go)
        # In a small world two months may pass without anything new.
        truth_here = take_cut(dataset, cut, HORIZON_DAYS)
        if len(truth_here.adopters):
            yield truth_here


def _scores(cut: CutTruth, models: Sequence[str], oracle: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    for name in models:
        scores, _ = contestant(name).fit(cut.known, 1).predict(cut.clients.take(cut.adopters))
        yield name, np.array(scores)
    yield ORACLE, oracle


def _oracle(cut: CutTruth, truth: Truth) -> FloatArray:
    """P(first adoption within the horizon) of the clients judged and the offers known, clients_by_offers."""
    probabilities = truth.adoption_within(cut.as_of, HORIZON_DAYS, _N_FUTURES)
    rows = {client_id: row for row, client_id in enumerate(truth.client_ids)}
    columns = {offer_id: column for column, offer_id in enumerate(truth.offer_ids)}
    asked = np.ix_(
        [rows[cut.client_ids[row]] for row in cut.adopters],
        [columns[offer_id] for offer_id in cut.offers.offer_ids],
    )
    judged: FloatArray = probabilities[asked]
    return judged


@dataclass(frozen=True, slots=True)
class OnlineValues:
    """What the lists of models bring in the last half year of a world, one value per client.

    Attributes:
        accepted: True probabilities of activation, summed over what was seen.
        margin: Expected margin of everything connected, shown or not, whole units of the currency.
    """

    accepted: PairedValues
    margin: PairedValues


def score_online(world: World, catalogue: Catalogue, dataset: Dataset, models: Sequence[str]) -> OnlineValues:
    """Roll models out: each fills every list of the last six months, fitted once on what was known before.

    All rollouts share the luck that lists cannot change. The oracle shows what is most likely to be
    accepted. Lists offer what models score, new services and higher editions, and no change of what is held.

    Args:
        world: The world, of more than six months.
        catalogue: Its catalogue.
        dataset: Its tables, as `live` gives them.
        models: Names of models.
    """
    from_month = world.n_months - ROLLOUT_MONTHS
    without_changes = world.aftersales.model_copy(update={"share": 0.0})
    rollouts = Rollouts(world.model_copy(update={"aftersales": without_changes}), catalogue, from_month)
    known = take_training(dataset, Truth(world, catalogue).starts_at(from_month))
    outcomes: dict[str, Rollout] = {}
    for name in models:
        predict = contestant(name).fit(known, 1).predict
        outcomes[name] = rollouts.run(_policy(predict, known.training), ROLLOUT_MONTHS)
    outcomes[ORACLE] = rollouts.run_oracle(ROLLOUT_MONTHS, Aim.ACCEPTANCE)
    return OnlineValues(
        accepted=PairedValues({name: outcome.n_expected for name, outcome in outcomes.items()}),
        margin=PairedValues({name: outcome.margin for name, outcome in outcomes.items()}),
    )


def _policy(predict: Predict, training: TrainingSet) -> Policy:
    """Show what scores best; an offer that came after the fit comes last."""
    offers = training.offers

    def fill(request: Request) -> Lists:
        batch = ClientBatch.from_states(request.states(), offers, request.as_of, training.clients.features)
        scores = np.full((len(batch), len(request.offer_ids)), _WORST)
        column = {offer_id: number for number, offer_id in enumerate(request.offer_ids)}
        scores[:, [column[offer_id] for offer_id in offers.offer_ids]], _ = predict(batch)
        return top_lists(scores, request)

    return fill

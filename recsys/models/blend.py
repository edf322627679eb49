"""Blend: a weighted product of what several models say, which is a weighted sum of their logarithms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, JsonValue

from recsys.config import RunConfig
from recsys.errors import ConfigError
from recsys.models.base import (
    Arrays,
    ClientBatch,
    ClientFacts,
    Evidence,
    EvidenceKind,
    FittedOffers,
    FloatArray,
    FrozenArrays,
    OfferIndex,
    Scorer,
    TrainingSet,
    take_array,
)

MakeScorer = Callable[[str, Mapping[str, object]], Scorer]
_MEAN_CLIENTS = 5_000
# they say logarithms, of which none can be taken again
_JOINING = frozenset({"blend", "boosted"})
# an enum looks its members up anew each time
_HOLDING = EvidenceKind.HOLDING


class Component(RunConfig):
    """One model of a blend.

    Attributes:
        name: Its name in the registry.
        params: Its parameters; what is left out takes its default.
        weight: Power of its score.
        floor: Added to its scores, in its mean positive score: what the model has never seen is improbable,
            not impossible.
    """

    name: str
    params: dict[str, JsonValue] = Field(default_factory=dict)
    weight: float = 1.0
    floor: float = Field(default=0.1, gt=0)


class BlendParams(RunConfig):
    """Parameters of `Blend`.

    Attributes:
        components: What is multiplied.
    """

    components: tuple[Component, ...] = Field(
        default=(
            Component(
                name="ease", params={"l2_per_holder": 20.0, "half_life_days": 60.0}, weight=1.0, floor=0.001
            ),
            Component(name="trend", params={"days": 30.5, "is_relative": True}, weight=0.4, floor=0.001),
            Component(name="similar", weight=0.2, floor=0.3),
        ),
        min_length=1,
    )


class Components:
    """Fitted models side by side, and the logarithms of what they say.

    Args:
        specs: Which models.
        make: Makes an unfitted one; `recsys.models.registry.make_scorer`.

    Raises:
        ConfigError: One of them joins models itself, or it is wrong.
    """

    def __init__(self, specs: Sequence[Component], make: MakeScorer) -> None:
        self.specs = tuple(specs)
        for name in _JOINING.intersection(spec.name for spec in specs):
            raise ConfigError(f"{name!r} joins models itself, so it cannot be one of the components")
        self._make = make
        self.models: tuple[Scorer, ...] = tuple([make(spec.name, spec.params) for spec in specs])
        self._floors, self._shares = np.ones(len(self.models)), np.zeros(0)

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:
        """Fit every model; returns self."""
        self.models = tuple([self._make(spec.name, spec.params).fit(training, rng) for spec in self.specs])
        n_clients = max(training.demand.shape[0], 1)
        self._shares = np.asarray(training.demand.sum(axis=0), dtype=np.float64).ravel() / n_clients
        some = training.clients
        if len(some) > _MEAN_CLIENTS:
            some = some.take(np.linspace(0, len(some) - 1, _MEAN_CLIENTS).astype(np.int64))
        self._floors = np.array(
            [
                spec.floor * _mean_positive(model.score(some))
                for spec, model in zip(self.specs, self.models, strict=True)
            ]
        )
        return self

    def logs(self, clients: ClientBatch) -> FloatArray:
        """``log(max(score, 0) + floor)`` of every model, shape (n_models, n_clients, n_offers).

        A model that reads holdings alone knows nothing of a client without any; there the share of all
        clients that demand the offer stands for its score, which is what is expected of anybody.
        """
        scores: FloatArray = np.array([model.score(clients) for model in self.models])
        if not clients.n_held.all():
            for model, of_model in zip(self.models, scores, strict=True):
                if not model.reads_profiles:
                    of_model[clients.n_held == 0] = self._shares
        np.maximum(scores, 0.0, out=scores)
        scores += self._floors[:, None, None]
        return np.log(scores, out=scores)

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """What every model says, the models in their order, each thing once; how common it is comes last."""
        said: set[tuple[bool, str]] = set()
        common: Evidence | None = None
        for model in self.models:
            if model.reads_holdings and not facts.held:
                continue
            for one in model.explain(facts, column):
                if not one.subject:
                    common = common or one
                elif (what := (one.kind is _HOLDING, one.subject)) not in said:
                    said.add(what)
                    yield one
        if common is not None:
            yield common

    def to_arrays(self) -> Arrays:
        """Every model's arrays behind its number, ``floors`` and ``shares``."""
        parts = {
            f"c{number}_{name}": array
            for number, model in enumerate(self.models)
            for name, array in model.to_arrays().items()
        }
        return {**parts, "floors": self._floors, "shares": self._shares}

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        self._floors = take_array(arrays, "floors", (len(self.specs),))
        self._shares = take_array(arrays, "shares", (len(offers),))
        if not (self._floors > 0).all():
            raise ValueError("array 'floors' holds values that are not above 0")
        self.models = tuple(
            [
                self._make(spec.name, spec.params).restore(offers, _part(arrays, f"c{number}_"))
                for number, spec in enumerate(self.specs)
            ]
        )
        return self


class Blend(FittedOffers):
    """A weighted product of models.

    ``score(client, j) = Σ_c w_c log(max(s_c(client, j), 0) + ε_c)``, with ε_c a share of the model's mean
    positive score. Where a model that reads holdings alone has none to read, the share of clients that demand
    the offer stands for its score.
    """

    name: ClassVar[str] = "blend"
    reads_holdings: ClassVar[bool] = True
    reads_profiles: ClassVar[bool] = True

    def __init__(self, params: BlendParams, make: MakeScorer) -> None:
        self.params = params
        self._components = Components(params.components, make)
        self._weights = np.array([component.weight for component in params.components])

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:
        """Fit every component; returns self."""
        self._components.fit(training, rng)
        self._offers = training.offers
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Weighted sums of logarithms, shape (n_clients, n_offers)."""
        self.check_batch(clients)
        return np.tensordot(self._weights, self._components.logs(clients), axes=1)

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """What the components say, in their order."""
        self.check_fitted()
        return self._components.explain(facts, column)

    def to_arrays(self) -> Arrays:
        """The components' arrays behind their numbers, ``floors`` and ``shares``."""
        self.check_fitted()
        return self._components.to_arrays()

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        self._components.restore(offers, arrays)
        self._offers = offers
        return self


def _mean_positive(scores: FloatArray) -> float:
    positive = scores[scores > 0]
    return float(positive.mean()) if len(positive) else 1.0


def _part(arrays: FrozenArrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

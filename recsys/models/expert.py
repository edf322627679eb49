"""Expert: weights that people wrote down, by stage, size and industry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import ClassVar, Self

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from recsys.config import RunConfig
from recsys.domain import Size, Stage
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
    TrainingSet,
    take_array,
)

_FILE = "expert.yaml"
_TRAIT_VALUES: Mapping[str, tuple[str, ...]] = {
    "stage": tuple(stage.value for stage in Stage),
    "size": tuple(size.value for size in Size if size is not Size.UNKNOWN),
    "industry": tuple("ABCDEFGHIJKLMNOPQRS"),
}


class ExpertParams(RunConfig):
    """Parameters of `Expert`: none, for the weights are a document of the dataset."""


class Expert(FittedOffers):
    """Weights by hand, added up.

    ``score(client, j) = base(j) + Σ_t weight(t, j)`` over the client's stage, size and industry, where
    the weights of an offer's category are added to its own. The weights are the text of ``expert.yaml``::

        offers:
          pbx-start: {base: 1.0, stage: {growth: 0.5}, size: {micro: 0.2}, industry: {G: 0.3}}
        categories:
          telephony: {base: 0.1}

    What it does not name weighs 0. Names that do not exist are refused.
    """

    name: ClassVar[str] = "expert"
    reads_holdings: ClassVar[bool] = False
    reads_profiles: ClassVar[bool] = True

    def __init__(self, params: ExpertParams | None = None) -> None:
        self.params = params or ExpertParams()
        self._keep(np.zeros(0), (), np.zeros((0, 0)))

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:  # noqa: ARG002 (nothing is drawn)
        """Read the weights; returns self.

        Raises:
            ConfigError: There are no weights, or they name what does not exist.
        """
        if training.expert_yaml is None:
            raise ConfigError(
                f"the model 'expert' needs a file {_FILE} in the folder of the data"
                " (offers: {OFFER: {base: 1.0, stage: {growth: 0.5}}}); write one or choose another model"
            )
        columns = _columns_by_subject(training)
        weights = [
            (weight, column)
            for weight in read_weights(training.expert_yaml, columns)
            for column in columns[weight.section][weight.subject]
        ]
        names = tuple(sorted({weight.trait for weight, _ in weights if weight.trait}))
        rows = {name: row for row, name in enumerate(names)}
        base = np.zeros(len(training.offers))
        by_trait = np.zeros((len(names), len(training.offers)))
        for weight, column in weights:
            target = by_trait[rows[weight.trait]] if weight.trait else base
            target[column] += weight.amount
        self._keep(base, names, by_trait)
        self._offers = training.offers
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Sums of weights, shape (n_clients, n_offers)."""
        self.check_batch(clients)
        scores = np.empty((len(clients), len(self._base)))
        for client, traits in enumerate(clients.traits):
            scores[client] = self._base + self._weights[self._rows_of(traits)].sum(axis=0)
        return scores

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """The trait with the largest positive weight; nobody was counted for it."""
        self.check_fitted()
        weights, rows = self._weights, self._rows_of(facts.traits)
        best = max(rows, key=lambda row: weights.item(row, column), default=None)
        if best is not None and weights.item(best, column) > 0:
            yield Evidence(EvidenceKind.TRAIT, self._names[best])

    def to_arrays(self) -> Arrays:
        """``base``, ``weights`` and ``traits``."""
        self.check_fitted()
        return {
            "base": self._base,
            "weights": self._weights,
            "traits": np.array(self._names, dtype=np.str_),
        }

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        names = tuple(str(name) for name in arrays["traits"])
        self._keep(
            take_array(arrays, "base", (len(offers),)),
            names,
            take_array(arrays, "weights", (len(names), len(offers))),
        )
        self._offers = offers
        return self

    def _keep(self, base: FloatArray, names: tuple[str, ...], weights: FloatArray) -> None:
        self._base, self._names, self._weights = base, names, weights
        self._rows = {name: row for row, name in enumerate(names)}

    def _rows_of(self, traits: Sequence[str]) -> list[int]:
        return [self._rows[trait] for trait in traits if trait in self._rows]


@dataclass(frozen=True, slots=True)
class ExpertWeight:
    """One number of ``expert.yaml``.

    Attributes:
        section: ``offers`` or ``categories``.
        subject: Offer id or category.
        trait: Trait such as ``stage=growth``; empty for the base.
        amount: The weight.
    """

    section: str
    subject: str
    trait: str
    amount: float


def read_weights(text: str, known: Mapping[str, Mapping[str, object]]) -> Iterator[ExpertWeight]:
    """Every weight of an ``expert.yaml``.

    Args:
        text: The document.
        known: The names that may stand in each section: ``offers`` and ``categories``.

    Raises:
        ConfigError: The text is no YAML, or names an unknown section, offer, category, trait or value, or
            holds something that is no number; the error names the line and the cure.

    Example:
        >>> known = {"offers": {"pbx": None}, "categories": {}}
        >>> list(read_weights("offers: {pbx: {size: {micro: 2}}}", known))
        [ExpertWeight(section='offers', subject='pbx', trait='size=micro', amount=2.0)]
    """
    for section, subjects, line in _entries(_parse(text), "the document", 1, tuple(known)):
        for subject, weights, subject_line in _entries(subjects, section, line, tuple(known[section])):
            yield from _weights_of(section, subject, weights, subject_line)


def _weights_of(section: str, subject: str, weights: object, line: int) -> Iterator[ExpertWeight]:
    for key, value, key_line in _entries(weights, subject, line, ("base", *_TRAIT_VALUES)):
        if key == "base":
            yield ExpertWeight(section, subject, "", _number(value, key, key_line))
            continue
        for name, amount, name_line in _entries(value, f"{subject}.{key}", key_line, _TRAIT_VALUES[key]):
            yield ExpertWeight(section, subject, f"{key}={name}", _number(amount, name, name_line))


def _parse(text: str) -> object:
    try:
        return YAML(typ="rt").load(StringIO(text)) or CommentedMap()
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{_FILE}, line {line}: {error.problem}") from error
    except YAMLError as error:
        raise ConfigError(f"{_FILE}: not a YAML file: {error}") from error


def _entries(
    node: object, place: str, line: int, known: tuple[str, ...]
) -> Iterator[tuple[str, object, int]]:
    """Keys, values and lines of a mapping whose keys must be known."""
    if not isinstance(node, CommentedMap):
        raise ConfigError(
            f"{_FILE}, line {line}: {place!r} must be a mapping of names to values, not {str(node)[:40]!r}"
        )
    for key, value in node.items():
        key_line = int(node.lc.key(key)[0]) + 1
        if key not in known:
            raise ConfigError(
                f"{_FILE}, line {key_line}: {str(key)[:80]!r} is not known under {place!r};"
                f" correct it to one of {_shown(known)}, or remove the line"
            )
        yield key, value, key_line


def _number(value: object, key: str, line: int) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(float(str(value))):
        raise ConfigError(f"{_FILE}, line {line}: {key!r} must be a finite number, not {str(value)[:40]!r}")
    return float(str(value))


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names[:12]) + (f" … ({len(names)} in all)" if len(names) > 12 else "") or "(none)"


def _columns_by_subject(training: TrainingSet) -> dict[str, dict[str, list[int]]]:
    categories: dict[str, list[int]] = {}
    for column, category in enumerate(training.categories):
        if category is not None:
            categories.setdefault(category, []).append(column)
    offers: dict[str, list[int]] = {offer_id: [] for offer_id in sorted(training.later_offers)}
    offers |= {offer_id: [column] for column, offer_id in enumerate(training.offers.offer_ids)}
    return {"offers": offers, "categories": categories}

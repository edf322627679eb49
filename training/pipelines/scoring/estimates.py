"""What the models of a bundle say of many clients at once, as a server says it of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recsys.bundle import MANIFEST, Bundle, load_bundle, newest_bundle
from recsys.decision.arbitration import Alignment, Estimate, rank
from recsys.decision.catalogue import CompiledCatalogue
from recsys.domain import Basis, ClientId, ClientState
from recsys.features.builder import FeatureBuilder
from recsys.models.base import ClientBatch, ClientFacts, Evidence
from recsys.models.recommender import Recommender, scoring_moment

_NOBODY = ClientState(ClientId(""))


def open_bundle(path: Path) -> Bundle:
    """Read a bundle, or the newest of a folder of bundles.

    Raises:
        BundleError: There is none, or it cannot be read.
    """
    return load_bundle(path if (path / MANIFEST).exists() else newest_bundle(path))


@dataclass(frozen=True, slots=True)
class Scored:
    """Some clients, scored.

    Attributes:
        estimates: One per client, in their order.
        facts: What can be said of each.
        recommender: The models.
        alignment: Positions of the catalogue ↔ columns of the models.
    """

    estimates: tuple[Estimate, ...]
    facts: Sequence[ClientFacts]
    recommender: Recommender
    alignment: Alignment

    def evidence(self, client: int, position: int) -> Iterator[Evidence]:
        """What is true of an offer for one client (its place among the clients), the strongest first."""
        column = self.alignment.column_of.get(position)
        return iter(()) if column is None else self.recommender.explain(self.facts[client], column)


class Estimates:
    """A bundle aligned with a catalogue.

    Args:
        bundle: The models.
        catalogue: The offers.
    """

    def __init__(self, bundle: Bundle, catalogue: CompiledCatalogue) -> None:
        self.version = bundle.version
        self.recommender = bundle.recommender
        self._fitted_at = bundle.manifest.as_of
        self._alignment = Alignment(catalogue, self.recommender.offers)
        self._features = FeatureBuilder(catalogue.offers, bundle.population)

    def of(self, states: Sequence[ClientState], now: datetime | Sequence[datetime]) -> Scored:
        """Score clients; one who switched profiling off is scored as a server scores it.

        That is as a client nothing is known of, at the moment as of which the models were fitted.

        Args:
            states: The clients, ≥1.
            now: The moment of the decision, aware; or that of each client's.
        """
        is_allowed = [is_profiling_allowed(state) for state in states]
        known = [state if allowed else _NOBODY for state, allowed in zip(states, is_allowed, strict=True)]
        nows = [now] * len(states) if isinstance(now, datetime) else now
        of_nobody = scoring_moment(self._fitted_at)
        moments = [
            scoring_moment(each) if allowed else of_nobody
            for each, allowed in zip(nows, is_allowed, strict=True)
        ]
        batch = ClientBatch.from_states(known, self.recommender.offers, moments, self._features)
        prediction, alignment = self.recommender.predict(batch), self._alignment
        estimates = []
        for row, basis in enumerate(prediction.bases):
            probabilities = alignment.align(prediction.probabilities[row])
            estimates.append(
                Estimate(
                    probabilities=probabilities,
                    order=rank(probabilities, alignment.align(prediction.scores[row])),
                    basis=basis,
                    target=self.recommender.target,
                    is_personalised=basis is not Basis.POPULATION,
                    is_unknown=alignment.is_unknown,
                )
            )
        return Scored(tuple(estimates), ClientFacts.of_all(batch), self.recommender, alignment)


def is_profiling_allowed(state: ClientState) -> bool:
    """The client's profiling switch."""
    return state.profile is None or state.profile.is_profiling_allowed

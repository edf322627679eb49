"""What the models of a bundle say of many clients at once, as a server says it of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from recsys.bundle import MANIFEST, Bundle, load_bundle, newest_bundle
from recsys.decision.arbitration import Alignment, Estimate, rank
from recsys.decision.catalogue import CompiledCatalogue
from recsys.domain import Basis, ClientId, ClientState
from recsys.features.builder import FeatureBuilder
from recsys.models.base import ClientBatch, Evidence
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
        batch: The clients as the models read them.
        recommender: The models.
        alignment: Positions of the catalogue ↔ columns of the models.
    """

    estimates: tuple[Estimate, ...]
    batch: ClientBatch
    recommender: Recommender
    alignment: Alignment

    def evidence(self, client: int, positions: Sequence[int]) -> Mapping[int, tuple[Evidence, ...]]:
        """What is true of these offers for one client (its place among the clients), by position."""
        columns = self.alignment.columns_of(positions)
        if not columns:
            return {}
        asked = np.array(list(columns.values()), dtype=np.int64)
        return dict(zip(columns, self.recommender.explain(self.batch, client, asked), strict=True))


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
        return Scored(tuple(estimates), batch, self.recommender, alignment)


def is_profiling_allowed(state: ClientState) -> bool:
    """The client's profiling switch."""
    return state.profile is None or state.profile.is_profiling_allowed

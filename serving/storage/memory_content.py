"""What the memory store decides with: policies, stops, documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from serving.orders import OfferStop, PolicyVersion, standing_policies
from serving.ports import Catalogue


class MemoryContent:
    """The part of `serving.storage.memory.MemoryStore` that no client's state depends on."""

    _tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]]

    def __init__(self) -> None:
        self._policies: list[PolicyVersion] = []
        self._stops: list[OfferStop] = []
        self._documents: dict[str, str] = {}
        self._catalogues: dict[str, Catalogue] = {}
        self._n_changes = 0

    def put_policy(self, policy: PolicyVersion) -> None:
        """See `serving.ports.Store`."""
        self._policies.append(policy)

    def policies(self) -> list[PolicyVersion]:
        """See `serving.ports.Store`."""
        return sorted(self._policies, key=lambda policy: policy.effective_at)

    def policy_in_force(self, now: datetime) -> PolicyVersion | None:
        """See `serving.ports.Store`."""
        effective = [policy for policy in standing_policies(self.policies()) if policy.effective_at <= now]
        return effective[-1] if effective else None

    def put_offer_stop(self, stop: OfferStop) -> None:
        """See `serving.ports.Store`."""
        self._stops.append(stop)

    def offer_stops(self) -> list[OfferStop]:
        """See `serving.ports.Store`."""
        return list(self._stops)

    def keep_catalogue(self, catalogue: Catalogue, used_at: datetime) -> None:  # noqa: ARG002
        """See `serving.ports.Store`."""
        self._catalogues.setdefault(catalogue.version, catalogue)

    def kept_catalogue(self, version: str) -> Catalogue | None:
        """See `serving.ports.Store`."""
        return self._catalogues.get(version)

    def put_documents(self, documents: Mapping[str, str]) -> None:
        """See `serving.ports.Store`."""
        self._documents.update(documents)
        self._n_changes += 1

    def decision_origins(self, decision_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """See `serving.ports.Store`."""
        found = {each: self._tables["decisions"].get((each,)) for each in decision_ids}
        return {
            each: (row["placement_id"], row["bundle_version"])
            for each, row in found.items()
            if row is not None
        }

    def documents(self) -> dict[str, str]:
        """See `serving.ports.Store`."""
        return dict(self._documents)

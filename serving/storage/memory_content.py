"""What the memory store decides with: policies, stops, documents; and its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from recsys.errors import ConflictError, UnknownKeyError
from serving.orders import OfferStop, PolicyVersion, standing_policies
from serving.ports import Catalogue, KeyRecord


class MemoryContent:
    """The part of `serving.storage.memory.MemoryStore` that no client's state depends on."""

    def __init__(self) -> None:
        self._policies: list[PolicyVersion] = []
        self._stops: list[OfferStop] = []
        self._documents: dict[str, str] = {}
        self._catalogues: dict[str, Catalogue] = {}
        self._keys: dict[str, KeyRecord] = {}
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

    def documents(self) -> dict[str, str]:
        """See `serving.ports.Store`."""
        return dict(self._documents)

    def add_key(self, key: KeyRecord) -> None:
        """See `serving.ports.Store`."""
        if key.key_id in self._keys:
            raise ConflictError(f"the id was used before with another content: {key.key_id}")
        self._keys[key.key_id] = key

    def keys(self) -> list[KeyRecord]:
        """See `serving.ports.Store`."""
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.key_id))

    def revoke_key(self, key_id: str, revoked_at: datetime) -> None:
        """See `serving.ports.Store`."""
        if key_id not in self._keys:
            raise UnknownKeyError(key_id, "list the keys with `recsys-serve keys list`")
        self._keys[key_id] = replace(self._keys[key_id], revoked_at=revoked_at)

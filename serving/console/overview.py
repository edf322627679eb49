"""What the first page shows: how the service stands, and what was ordered of it last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from recsys.experiments.experiment import HOLDOUT_ID
from serving.orders import BundleOrder, PolicyVersion
from serving.ports import Store
from serving.services.health import Readiness, check_readiness
from serving.services.services import Services
from serving.web.authentication import Right

_N_ORDERS = 12
# As `serving.services.load` publishes the policy that comes with the data.
_LOADER, _LOADED = "command line", "loaded from "
# What a judgement may go on with, see `serving.services.bundle_gate` and `serving.services.promotion`.
_AFTER_OVERRIDE = ("; not evaluated off-policy", "; off-policy: ", "; the log of the run ends on ")


@dataclass(frozen=True, slots=True)
class Order:
    """Something that was ordered.

    Attributes:
        kind: Key of its text: ``policy``, ``withdrawal``, ``stop``, ``resume``, ``experiment``, ``holdout``,
            ``bundle``.
        name: What was ordered of.
        detail: What exactly, as programs call it; "" = the kind says it.
        author: Who.
        reason: Why.
        recorded_at: When it was said.
        override: Why although the figures spoke against it; "" = they did not.
        source: Folder that it came from with the data; "" = somebody ordered it by itself.
    """

    kind: str
    name: str
    detail: str
    author: str
    reason: str
    recorded_at: datetime
    override: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page.

    Attributes:
        state: ``ready``, ``degraded`` or ``unready``.
        readiness: The parts.
        orders: The latest orders that the person may see, the last one first.
    """

    state: str
    readiness: Readiness
    orders: tuple[Order, ...]


def build_overview(services: Services, rights: frozenset[Right]) -> Overview:
    """Look at everything; blocks while the database is asked.

    Args:
        services: What the API uses too.
        rights: What the person may see.

    Raises:
        StoreUnavailableError: The database went away in between.
    """
    readiness = check_readiness(services)
    fine = "degraded" if readiness.degraded or readiness.faults else "ready"
    orders = sorted(
        _orders(services.store, rights) if readiness.is_database_ready else (),
        key=lambda order: order.recorded_at,
        reverse=True,
    )
    return Overview(fine if readiness.is_ready else "unready", readiness, tuple(orders[:_N_ORDERS]))


def _orders(store: Store, rights: frozenset[Right]) -> Iterable[Order]:
    if Right.READ_POLICIES in rights:
        for policy in store.policies():
            yield _policy_order(policy)
        for stop in store.offer_stops():
            kind = "stop" if stop.is_stopped else "resume"
            yield Order(kind, stop.offer_id, "", stop.author, stop.reason, stop.recorded_at)
    if Right.READ_EXPERIMENTS in rights:
        for order in store.experiment_orders():
            kind = "holdout" if order.experiment_id == HOLDOUT_ID else "experiment"
            detail = "" if kind == "holdout" else order.status
            yield Order(kind, order.experiment_id, detail, order.author, order.reason, order.recorded_at)
    if Right.READ_BUNDLES in rights:
        for said in store.bundle_orders():
            why, override = said.reason, _override(said)
            yield Order("bundle", said.version, said.action, said.author, why, said.recorded_at, override)


def _policy_order(policy: PolicyVersion) -> Order:
    kind = "withdrawal" if policy.is_withdrawal else "policy"
    is_loaded = policy.author == _LOADER and policy.note.startswith(_LOADED)
    source = policy.note.removeprefix(_LOADED) if is_loaded else ""
    note = "" if is_loaded else policy.note
    return Order(kind, policy.version, "", policy.author, note, policy.recorded_at, source=source)


def _override(order: BundleOrder) -> str:
    """Why a bundle was promoted although the gate said no: the judgement has it between two others."""
    told = order.judgement.partition(f"overridden by {order.author}: ")[2]
    for following in _AFTER_OVERRIDE:
        told = told.partition(following)[0]
    return told

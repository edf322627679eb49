"""Bundles over HTTP: publish, try in shadow, promote, roll back, pin, and what stands."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field

from recsys.errors import BundleError, ConfigError, InvalidRequestError
from serving.api.failure_answers import failure_answers
from serving.api.operations import Author, OffPolicyQuestion, Sentence
from serving.api.questions import Id, Question
from serving.orders import BundleOrder
from serving.services import bundles
from serving.services.bundle_registry import BundleStatus, Registered, read_registry
from serving.services.bundle_show import BundleShown, show_bundle
from serving.services.bundles import PromotionCase, Said
from serving.services.disagreement import Summary
from serving.services.experiments import Voice
from serving.services.promotion import Evidence
from serving.services.services import Services
from serving.web.authentication import Right, needs
from serving.web.direct import GuardedRoute

BundlePath = Annotated[Id, Path(description="the bundle, or the first letters of its version")]

_READS = [Depends(needs(Right.READ_BUNDLES))]
_PUBLISHES = [Depends(needs(Right.PUBLISH_BUNDLES))]
_PROMOTES = [Depends(needs(Right.PROMOTE_BUNDLES))]


class ReasonQuestion(Question):
    """Why, for those who read it later."""

    reason: Sentence = ""


class BundleQuestion(ReasonQuestion):
    """A bundle to publish."""

    folder: Id = Field(description="name of its folder in the server's folder of bundles: its version")


class PromotionQuestion(ReasonQuestion):
    """Where a bundle is to be promoted to, and what speaks for it."""

    to: Literal["live", "shadow"] = Field(
        "live", description="shadow = scored beside the live one, not shown"
    )
    override: Sentence = Field("", description="why it goes live although its figures are worse")
    off_policy: OffPolicyQuestion | None = Field(
        None, description="left out = the order says that the bundle was not evaluated off-policy"
    )


class BundleOrderAnswer(BaseModel):
    """What was said of a bundle."""

    number: int
    version: str
    folder: str
    digest: str = Field(description="SHA-256 of what its manifest says, every file's digest among it")
    action: Literal["publish", "shadow", "promote", "roll_back", "pin", "unpin", "retire"]
    author: str = Field(description="key_id, or `command line`")
    reason: str
    judgement: str = Field(description="what the gate said, and who overrode it; empty = nothing was judged")
    recorded_at: datetime


class OrderedBundleAnswer(BundleOrderAnswer):
    """What was said now."""

    warnings: list[str] = Field(description="what should be looked at, one sentence for each")


class BundleAnswer(BaseModel):
    """How a published bundle stands."""

    version: str
    folder: str
    status: BundleStatus
    last: BundleOrderAnswer


class BundlesAnswer(BaseModel):
    """Everything that was published, in that order, and what stands."""

    live: str | None = Field(description="null = nobody promoted one; the newest of the folder is served")
    shadow: str | None
    before: str | None = Field(description="what a roll-back would make live again")
    pinned_by: str | None = Field(description="who pinned the live one; null = it is not pinned")
    served: str | None = Field(description="what the worker that answers has in use; null = no models")
    faults: list[str] = Field(description="what is ordered and that worker could not load, one sentence each")
    bundles: list[BundleAnswer]


class SegmentAnswer(BaseModel):
    """How far a bundle in shadow disagreed over some decisions."""

    name: str = Field(description="what they have in common, such as `placement home`; empty = all")
    n_decisions: int
    mean_overlap: float | None = Field(description="share of the shown offers that its lists have too, 0–1")
    rank_correlation: float | None = Field(description="mean over the decisions, of all candidates, −1–1")
    mean_difference: float | None = Field(description="mean of its probabilities − the live ones")


class ShadowAnswer(BaseModel):
    """How far a bundle in shadow disagreed with what was live."""

    overall: SegmentAnswer
    against: list[str] = Field(description="versions that were live meanwhile")
    worst: list[SegmentAnswer] = Field(description="of at least 30 decisions each, the worst first")


class BundleShownAnswer(BaseModel):
    """A published bundle with its history, its figures and its disagreement."""

    version: str
    folder: str
    status: BundleStatus
    is_pinned: bool
    fault: str | None = Field(description="why its folder could not be served now; null = it could")
    target: str | None = Field(description="what its probabilities are of; null = its folder is gone")
    as_of: datetime | None
    metrics: dict[str, float] = Field(description="what was measured while it was fitted")
    shadow: ShadowAnswer
    orders: list[BundleOrderAnswer]


def bundles_router(services: Services) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v1", tags=["bundles"], route_class=GuardedRoute)
    _add_reads(router, services)
    _add_publications(router, services)
    _add_promotions(router, services)
    _add_orders(router, services)
    return router


def _add_reads(router: APIRouter, services: Services) -> None:
    @router.get("/bundles", dependencies=_READS, responses=failure_answers(403, 503))
    def list_bundles() -> BundlesAnswer:
        """Every published bundle and how it stands; which is live, in shadow, pinned, and served here."""
        registry, source = read_registry(services.store), services.scoring.source
        live, before, pin = registry.live, registry.before, registry.pin
        return BundlesAnswer(
            live=None if live is None else live.version,
            shadow=registry.shadow,
            before=None if before is None else before.version,
            pinned_by=None if pin is None else pin.author,
            served=None if source.bundle is None else source.bundle.version,
            faults=list(source.faults),
            bundles=[_bundle_answer(entry) for entry in registry.entries.values()],
        )

    @router.get("/bundles/{bundle_version}", dependencies=_READS, responses=failure_answers(403, 404, 503))
    def show_one_bundle(bundle_version: BundlePath) -> BundleShownAnswer:
        """A bundle's history, figures, and its disagreement with what was live while it was in shadow."""
        return _shown_answer(show_bundle(services.store, services.bundles_dir, bundle_version))


def _add_publications(router: APIRouter, services: Services) -> None:
    store, folder = services.store, services.bundles_dir

    @router.post("/bundles", dependencies=_PUBLISHES, responses=failure_answers(400, 403, 409, 413, 422, 503))
    def store_bundle(body: BundleQuestion, author: Author) -> OrderedBundleAnswer:
        """Publish a bundle of the server's folder as a candidate; nothing is served by it yet.

        All of it is verified first: every file's digest, the format, and that it scores clients.
        """
        said = _voice(services, author, body.reason)
        try:
            return _ordered(bundles.publish_bundle(store, folder, body.folder, said))
        except BundleError as error:
            raise InvalidRequestError("folder", str(error)) from error

    @router.post(
        "/bundles/{bundle_version}/retire",
        dependencies=_PUBLISHES,
        responses=failure_answers(400, 403, 404, 409, 413, 422, 503),
    )
    def retire(bundle_version: BundlePath, body: ReasonQuestion, author: Author) -> OrderedBundleAnswer:
        """Give up a candidate, or a bundle in shadow."""
        said = _voice(services, author, body.reason)
        return _ordered(bundles.retire_bundle(store, bundle_version, said))


def _add_promotions(router: APIRouter, services: Services) -> None:
    store, folder = services.store, services.bundles_dir

    @router.post(
        "/bundles/{bundle_version}/promote",
        dependencies=_PROMOTES,
        responses=failure_answers(400, 403, 404, 409, 413, 422, 503),
    )
    def promote(bundle_version: BundlePath, body: PromotionQuestion, author: Author) -> OrderedBundleAnswer:
        """Make a published bundle live, or try it in shadow; every worker follows within two seconds.

        One whose figures are worse than the live one's is 409, with the numbers, unless `override` says why.
        """
        said = _voice(services, author, body.reason)
        if body.to == "shadow":
            return _ordered(bundles.shadow_bundle(store, folder, bundle_version, said))
        try:
            return _ordered(bundles.promote_bundle(store, folder, bundle_version, said, _case_of(body)))
        except ConfigError as error:
            raise InvalidRequestError("off_policy", str(error)) from error


def _add_orders(router: APIRouter, services: Services) -> None:
    store, folder = services.store, services.bundles_dir
    failures = failure_answers(400, 403, 409, 413, 422, 503)

    @router.post("/bundles/roll-back", dependencies=_PROMOTES, responses=failures)
    def roll_back_bundle(body: ReasonQuestion, author: Author) -> OrderedBundleAnswer:
        """Make the bundle live again that was so before; every worker follows within two seconds."""
        return _ordered(bundles.roll_back(store, folder, _voice(services, author, body.reason)))

    @router.post("/bundles/pin", dependencies=_PROMOTES, responses=failures)
    def pin_bundle(body: ReasonQuestion, author: Author) -> OrderedBundleAnswer:
        """Hold the live bundle: until it is unpinned nobody promotes another one, or rolls back."""
        return _ordered(bundles.pin_bundle(store, _voice(services, author, body.reason)))

    @router.post("/bundles/unpin", dependencies=_PROMOTES, responses=failures)
    def unpin_bundle(body: ReasonQuestion, author: Author) -> OrderedBundleAnswer:
        """Let the live bundle be replaced again."""
        return _ordered(bundles.unpin_bundle(store, _voice(services, author, body.reason)))


def _voice(services: Services, author: str, reason: str) -> Voice:
    return Voice(author, services.clock.now(), reason)


def _case_of(body: PromotionQuestion) -> PromotionCase:
    told = body.off_policy
    if told is None:
        return PromotionCase(override=body.override)
    why = told.override or body.override
    figures = orjson.dumps(told.figures)
    return PromotionCase(Evidence(figures, "off_policy.figures", told.max_loss, why), body.override)


def _ordered(said: Said) -> OrderedBundleAnswer:
    return OrderedBundleAnswer(**asdict(said.order), warnings=list(said.warnings))


def _order_answer(order: BundleOrder) -> BundleOrderAnswer:
    return BundleOrderAnswer(**asdict(order))


def _bundle_answer(entry: Registered) -> BundleAnswer:
    return BundleAnswer(
        version=entry.version, folder=entry.folder, status=entry.status, last=_order_answer(entry.last)
    )


def _shown_answer(shown: BundleShown) -> BundleShownAnswer:
    entry, manifest = shown.entry, shown.manifest
    return BundleShownAnswer(
        version=entry.version,
        folder=entry.folder,
        status=entry.status,
        is_pinned=shown.is_pinned,
        fault=shown.fault,
        target=None if manifest is None else manifest.target.value,
        as_of=None if manifest is None else manifest.as_of,
        metrics={} if manifest is None else dict(manifest.metrics),
        shadow=_shadow_answer(shown.shadow),
        orders=[_order_answer(order) for order in entry.orders],
    )


def _shadow_answer(summary: Summary) -> ShadowAnswer:
    return ShadowAnswer(
        overall=SegmentAnswer(**summary.overall._asdict()),
        against=list(summary.against),
        worst=[SegmentAnswer(**each._asdict()) for each in summary.worst],
    )

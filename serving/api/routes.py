"""The REST API, version 1."""

from __future__ import annotations

from dataclasses import asdict
from hashlib import sha256
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError

from recsys.domain import ClientId
from recsys.errors import InvalidEventsError
from serving.api.answers import (
    ClientAnswer,
    ClientVersionsAnswer,
    EventsAnswer,
    FeaturesAnswer,
    HealthAnswer,
    OffersAnswer,
    ReadyAnswer,
    RecommendationsAnswer,
    SourceAnswer,
    client_answer,
    features_answer,
    offers_answer,
    versions_answer,
)
from serving.api.bundles import bundles_router
from serving.api.experiments import experiments_router
from serving.api.explanations import explanations_router
from serving.api.failure_answers import failure_answers
from serving.api.members import named_as_sent, own_events, own_key, own_query
from serving.api.operations import operations_router
from serving.api.questions import (
    EventsQuestion,
    HoldingsQuestion,
    Id,
    MonthsQuestion,
    ProfileQuestion,
    RecommendationsQuestion,
)
from serving.services.answers import answer
from serving.services.clients import (
    get_client,
    get_features,
    list_offers,
    put_client,
    put_holdings,
    put_months,
)
from serving.services.health import Readiness, check_readiness
from serving.services.record_events import record_events
from serving.services.services import Services
from serving.web.authentication import Right, needs
from serving.web.direct import DirectRoute, GuardedRoute

_JSON = "application/json"
ClientPath = Annotated[Id, Path(description="the client")]


def add_api(app: FastAPI, services: Services) -> None:
    """Add the routes of the API, the busiest first."""
    _add_direct_routes(app, services)
    app.include_router(_data_router(services))
    app.include_router(explanations_router(services))
    app.include_router(operations_router(services))
    app.include_router(experiments_router(services))
    app.include_router(bundles_router(services))
    app.include_router(_health_router(services))


def _add_direct_routes(app: FastAPI, services: Services) -> None:
    async def recommend_offers(request: Request, body: RecommendationsQuestion) -> Response:
        """Rank the offers that a client should see now, and say why.

        An unknown client gets a list too (`client_known: false`); so does everybody when the models are
        missing (`degraded` names the cause).
        """
        key = None
        if body.request_id is not None:
            key = own_key(request, body.request_id, _digest(await request.body()))
        return Response(await answer(services, own_query(request, body), key), media_type=_JSON)

    async def store_events(request: Request, body: EventsQuestion) -> Response:
        """Store what happened: all events or none, each once.

        An event that is stored already counts as a duplicate, and so does a second impression of the same
        decision and slot. The same event_id with another content is 409; an event that cannot be true is
        422 and named in `details.faults`.
        """
        events = own_events(request, body, services.clock.now())
        try:
            recorded = await record_events(services, events)
        except InvalidEventsError as error:
            raise named_as_sent(error, body) from error
        counts = {"accepted": recorded.n_accepted, "duplicates": recorded.n_duplicates}
        return Response(orjson.dumps(counts), media_type=_JSON)

    app.router.add_api_route(
        "/v1/recommendations",
        recommend_offers,
        methods=["POST"],
        dependencies=[Depends(needs(Right.RECOMMEND))],
        response_model=RecommendationsAnswer,
        responses=failure_answers(400, 403, 404, 409, 413, 422, 503),
        tags=["decisions"],
        route_class_override=DirectRoute,
    )
    app.router.add_api_route(
        "/v1/events",
        store_events,
        methods=["POST"],
        dependencies=[Depends(needs(Right.WRITE_EVENTS))],
        response_model=EventsAnswer,
        responses=failure_answers(400, 403, 409, 413, 422, 503),
        tags=["decisions"],
        route_class_override=DirectRoute,
    )


def _digest(body: bytes) -> bytes:
    """SHA-256 of the content, whatever the order of its fields and its spaces.

    Raises:
        RequestValidationError: It is read as JSON by one reader, and not by the stricter one.
    """
    try:
        return sha256(orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)).digest()
    except ValueError as error:  # both the reader's and the writer's
        raise RequestValidationError(
            [{"type": "json_invalid", "loc": (), "ctx": {"error": str(error)}}]
        ) from error


def _data_router(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["data"], route_class=GuardedRoute)
    reads, writes = [Depends(needs(Right.READ))], [Depends(needs(Right.WRITE_CLIENTS))]

    @router.put(
        "/clients/{client_id}", dependencies=writes, responses=failure_answers(400, 403, 413, 422, 503)
    )
    async def store_client(client_id: ClientPath, body: ProfileQuestion) -> ClientAnswer:
        """Create a client, or replace its profile from now on."""
        return client_answer(await put_client(services, ClientId(client_id), body.to_profile()))

    @router.get("/clients/{client_id}", dependencies=reads, responses=failure_answers(403, 404, 503))
    async def show_client(client_id: ClientPath) -> ClientAnswer:
        """A client's state, as decisions read it."""
        return client_answer(await get_client(services, ClientId(client_id)))

    @router.get("/clients/{client_id}/features", dependencies=reads, responses=failure_answers(403, 404, 503))
    async def show_features(client_id: ClientPath) -> FeaturesAnswer:
        """The numbers that a model reads of a client now."""
        return features_answer(client_id, await get_features(services, ClientId(client_id)))

    @router.post(
        "/holdings", dependencies=writes, responses=failure_answers(400, 403, 404, 409, 413, 422, 503)
    )
    async def store_holdings(body: HoldingsQuestion) -> ClientVersionsAnswer:
        """Connect services, change their quantity or end them: all or none; the next decision knows."""
        return versions_answer(await put_holdings(services, [one.to_change() for one in body.holdings]))

    @router.post(
        "/client-months", dependencies=writes, responses=failure_answers(400, 403, 404, 413, 422, 503)
    )
    async def store_months(body: MonthsQuestion) -> ClientVersionsAnswer:
        """Store figures of months, all or none; figures that are known already change nothing."""
        return versions_answer(await put_months(services, [one.to_change() for one in body.months]))

    @router.get("/offers", dependencies=reads, responses=failure_answers(403, 503))
    async def show_offers() -> OffersAnswer:
        """The catalogue in force, ordered by offer_id; stopped and outdated offers too."""
        return offers_answer(list_offers(services))

    return router


def _status_of(
    readiness: Readiness, *, is_draining: bool
) -> Literal["ready", "degraded", "unready", "draining"]:
    if is_draining:
        return "draining"
    if not readiness.is_ready:
        return "unready"
    return "degraded" if readiness.degraded or readiness.faults else "ready"


def _health_router(services: Services) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def show_health() -> HealthAnswer:
        """The process is alive."""
        return HealthAnswer()

    @router.get("/ready", responses={503: {"model": ReadyAnswer, "description": "requests would fail"}})
    def show_readiness(response: Response) -> ReadyAnswer:
        """Whether requests can be answered, from which models, and how old the data is."""
        readiness, is_draining = check_readiness(services), services.drain.is_draining
        if is_draining or not readiness.is_ready:
            response.status_code = 503
        return ReadyAnswer(
            status=_status_of(readiness, is_draining=is_draining),
            faults=list(readiness.faults),
            looked_seconds_ago=readiness.looked_seconds_ago,
            database="ok" if readiness.is_database_ready else "unavailable",
            bundle=readiness.bundle_version,
            bundle_by=readiness.bundle_by,
            shadow=readiness.shadow_version,
            policy=readiness.policy_version,
            degraded=readiness.degraded,
            catalogue=readiness.catalogue_version,
            n_offers=readiness.n_offers,
            sources=[SourceAnswer(**asdict(source)) for source in readiness.sources],
        )

    return router

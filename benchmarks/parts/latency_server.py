"""The service with two routes more, to compare a decision with: what every answer costs, and what it must."""

from __future__ import annotations

import json

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.routing import Route

from recsys.domain import ClientId
from serving.api.questions import RecommendationsQuestion
from serving.app import create_app, tune_interpreter
from serving.ports import LogDecisions, LoggedDecision
from serving.services.recommend import new_decision_id, prepare
from serving.services.services import Services
from serving.settings import Settings
from serving.telemetry import configure_logging
from serving.web.authentication import Right, check_right
from serving.web.connections import PatientProtocol
from serving.web.direct import DirectRoute


def serve(settings: Settings) -> None:
    """Run the service with the two routes to compare it with; everything else is as in production."""
    configure_logging()
    app = create_app(settings)
    add_compared_routes(app)
    tune_interpreter()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=PatientProtocol,
        access_log=False,
        log_config=None,
    )


def add_compared_routes(app: FastAPI) -> None:
    """Add ``/bench/raw``, ``/bench/floor``, ``/bench/sizes`` and ``/bench/cache``."""
    services: Services = app.state.services
    body = b"{}"
    template: LoggedDecision | None = None

    async def set_sizes(request: Request) -> Response:
        """Take a typical answer's size, and a typical row of the log."""
        nonlocal body, template
        question = RecommendationsQuestion.model_validate_json(await request.body())
        body = b"x" * int(request.query_params["n_bytes"])
        template = (await prepare(services, question.to_query())).decisions[0]
        return Response(str(len(template.items) + len(template.candidates)))

    async def raw(request: Request) -> Response:  # noqa: ARG001
        return Response(body, media_type="application/json")

    async def floor(request: Request, question: RecommendationsQuestion) -> Response:
        await check_right(request, Right.RECOMMEND)
        query = question.to_query()
        await services.read(services.store.client_state, ClientId(query.client_id))
        now = services.clock.now()
        assert template is not None  # noqa: S101
        row = template._replace(decision_id=new_decision_id(now), client_id=query.client_id, occurred_at=now)
        await services.commits.log(LogDecisions((row,)))
        return Response(body, media_type="application/json")

    async def show_cache(request: Request) -> Response:  # noqa: ARG001
        cache = services.scoring.world.ranking.cache
        return Response(json.dumps([cache.n_hits, cache.n_misses]))

    app.router.add_api_route("/bench/floor", floor, methods=["POST"], route_class_override=DirectRoute)
    app.router.routes.insert(0, Route("/bench/raw", raw, methods=["POST"]))
    app.router.routes.append(Route("/bench/sizes", set_sizes, methods=["POST"]))
    app.router.routes.append(Route("/bench/cache", show_cache, methods=["GET"]))

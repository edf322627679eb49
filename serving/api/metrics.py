"""The figures of the service, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from serving.api.failure_answers import failure_answers
from serving.services.figures import Figures
from serving.telemetry.exposition import CONTENT_TYPE
from serving.web.authentication import Right, needs
from serving.web.direct import GuardedRoute


def metrics_router(figures: Figures) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["health"], route_class=GuardedRoute)

    @router.get(
        "/metrics",
        dependencies=[Depends(needs(Right.READ_METRICS))],
        response_class=PlainTextResponse,
        responses=failure_answers(403, 503),
    )
    async def show_metrics() -> Response:
        """The figures of all workers together, in Prometheus' text format."""
        of_database = await figures.ask_database()
        return Response(await run_in_threadpool(figures.text, of_database), media_type=CONTENT_TYPE)

    return router

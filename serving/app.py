"""The only place where things are wired together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib.metadata import version
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE

from recsys.errors import ConfigError
from serving.api.metrics import metrics_router
from serving.api.openapi import complete_openapi, name_of
from serving.api.routes import add_api
from serving.background import Background
from serving.portal.routes import create_router
from serving.ports import Clock, Store
from serving.services.analysis import Analysis
from serving.services.commit_queue import CommitQueue
from serving.services.crew import Crew
from serving.services.drain import Drain
from serving.services.experiment_guard import Guard
from serving.services.figures import Figures
from serving.services.journal import Journal
from serving.services.scoring import Scoring
from serving.services.services import Services
from serving.services.shadow import Shadow
from serving.services.upkeep import Upkeep
from serving.settings import Settings, read_settings
from serving.storage.sql import SqlStore
from serving.telemetry import configure_logging, log
from serving.telemetry.measures import Measures
from serving.telemetry.names import IN_FLIGHT
from serving.telemetry.spool import Spool
from serving.web.authentication import Doorkeeper, Limits
from serving.web.connections import HEAD_SECONDS
from serving.web.direct import DirectApp, Lane
from serving.web.failures import install_failures
from serving.web.headers import SecurityHeaders, security_headers
from serving.web.limits import BodyLimit
from serving.web.observed import Observed, Observer, RequestLog
from serving.web.rate_limits import rate_limit
from serving.web.time_limits import TimeLimit

# Somewhat longer than the models in shadow may take.
_SECONDS_TO_FINISH = 6.0
# Still shorter, and what is interrupted costs more than what waits.
_SWITCH_SECONDS = 0.002


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        return datetime.now(UTC)


def create_app(settings: Settings, store: Store | None = None, clock: Clock | None = None) -> FastAPI:
    """Build the application.

    Args:
        settings: What the operator set.
        store: Where data lives; None opens the store of the settings, and closes it at the end.
        clock: The time; None is the machine's clock.

    Returns:
        The app; ``app.state.services`` and ``app.state.doorkeeper`` hold what its requests use.
    """
    services = _services(settings, store, clock)
    doorkeeper = _doorkeeper(settings, services)
    figures = Figures(services, Spool(settings.metrics_dir), settings.workers)
    guard = Guard(services.store, services.clock, services.analysis)
    upkeep = Upkeep(services.store, services.clock, settings.log_months, settings.answer_days)
    background = Background(services, doorkeeper, figures, guard, upkeep, Crew(settings.metrics_dir))
    observer = _observer(settings, services, background)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, float]]:
        services.drain.install()
        services.commits.start()
        async with background.running():
            log("worker_started", version=_app.version, n_workers=settings.workers)
            yield {HEAD_SECONDS: settings.body_seconds}
        await services.commits.close()
        services.readers.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(TimeoutError):  # all threads may hang in the database
            async with asyncio.timeout(_SECONDS_TO_FINISH):
                await asyncio.to_thread(services.shadow.close)
                await background.finish()
        log("worker_stopped", n_left=observer.n_in_flight)
        services.drain.insist()
        if store is None:
            services.store.close()

    headers = security_headers(settings.public_url)
    limits = (settings.max_body_bytes, settings.body_seconds, settings.request_seconds)
    # Without documentation pages: they would load scripts from elsewhere.
    app = DirectApp(
        lane=Lane(observer, headers, *limits),
        title="Offer recommendations",
        version=version("offer-recsys"),
        lifespan=lifespan,
        generate_unique_id_function=name_of,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services, app.state.doorkeeper, app.state.observer = services, doorkeeper, observer
    install_failures(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(
        TimeLimit, body_seconds=settings.body_seconds, request_seconds=settings.request_seconds
    )
    app.add_middleware(SecurityHeaders, headers=headers)
    app.add_middleware(Observed, observer=observer)
    _add_routes(app, settings, figures)
    return app


def _services(settings: Settings, store: Store | None, clock: Clock | None) -> Services:
    used: Store = SqlStore(settings.database_url) if store is None else store
    measures = Measures()
    return Services(
        store=used,
        commits=CommitQueue(used, journal=Journal(settings.journal_dir)),
        scoring=Scoring(used, settings.bundles_dir, ZoneInfo(settings.time_zone), settings.score_cache_size),
        clock=SystemClock() if clock is None else clock,
        bundles_dir=settings.bundles_dir,
        analysis=Analysis(settings.database_url if store is None else None),
        drain=Drain(settings.drain_seconds),
        measures=measures,
        shadow=Shadow(used, settings.shadow_share, measures),
    )


def _doorkeeper(settings: Settings, services: Services) -> Doorkeeper:
    limits = Limits(
        rate_limit(settings.rate_limit_per_second), rate_limit(settings.member_token_requests_per_second)
    )
    return Doorkeeper(services, settings.member_token_audience, limits)


def _observer(settings: Settings, services: Services, background: Background) -> Observer:
    rules = RequestLog(settings.request_log_share, settings.slow_request_seconds)
    drain = services.drain
    observer = Observer(services.measures, rules, lambda: drain.is_draining or not background.can_answer)
    services.measures.watch(IN_FLIGHT, lambda: observer.n_in_flight)
    return observer


def _add_routes(app: FastAPI, settings: Settings, figures: Figures) -> None:
    services: Services = app.state.services
    add_api(app, services)
    app.include_router(metrics_router(figures))
    complete_openapi(app)
    if settings.is_portal_enabled:
        app.include_router(create_router(services))
    if settings.is_console_enabled:
        from serving.console.routes import console_router  # noqa: PLC0415 -- templates, for who wants them

        app.include_router(console_router(services, settings))


def from_environment() -> FastAPI:
    """The app that the ``RECSYS_*`` variables describe; each worker calls this.

    Raises:
        SystemExit: They describe none. Its code tells the watching process not to start the worker again.
    """
    configure_logging()
    try:
        app = create_app(read_settings({}))
    except ConfigError as error:
        log("start_refused", level=logging.ERROR, cause=str(error))
        sys.exit(STARTUP_FAILURE)
    app.state.services.drain.hears_signals = True
    tune_interpreter()
    return app


def tune_interpreter() -> None:
    """Keep the interpreter itself from stopping requests.

    What exists now is left out of every later garbage collection: the modules alone are 300,000 objects, and
    looking through them takes a tenth of a second. Nor is anything collected before, which would take as long
    and free next to nothing. And the thread that commits is not kept waiting: after each statement it wants
    the interpreter for some microseconds, which a round holds for milliseconds.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()
    gc.enable()  # off during the start: see `serving.supervisor.run`
    # What a request leaves behind is freed without it; the defaults look after every few requests.
    gc.set_threshold(10_000, 20, 20)

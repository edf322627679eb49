"""The only place where things are wired together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from zoneinfo import ZoneInfo

import uvicorn
from fastapi import FastAPI

from recsys.errors import RecsysError
from serving.api.routes import add_api
from serving.portal.routes import create_router
from serving.ports import Clock, Store
from serving.services.analysis import Analysis
from serving.services.commit_queue import CommitQueue
from serving.services.experiment_guard import Guard
from serving.services.scoring import Scoring
from serving.services.services import Services
from serving.settings import Settings, read_settings
from serving.storage.sql import SqlStore
from serving.telemetry import configure_logging, log
from serving.web.authentication import Doorkeeper
from serving.web.failures import install_failures
from serving.web.limits import BodyLimit

# How often it is asked whether it is time to judge the experiments; see `Guard`.
_SECONDS_BETWEEN_GUARDS = 30.0
# What takes effect is to be in force within a second, and looking and compiling take time too.
_SECONDS_BETWEEN_LOOKS = 0.5


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
    used: Store = SqlStore(settings.database_url) if store is None else store
    services = Services(
        store=used,
        commits=CommitQueue(used),
        scoring=Scoring(used, settings.bundles_dir, ZoneInfo(settings.time_zone), settings.score_cache_size),
        clock=SystemClock() if clock is None else clock,
        bundles_dir=settings.bundles_dir,
        analysis=Analysis(settings.database_url if store is None else None),
    )
    doorkeeper = Doorkeeper(used)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.commits.start()
        await _look(services, doorkeeper)
        watchers = (
            asyncio.create_task(_watch(services, doorkeeper)),
            asyncio.create_task(_guard(Guard(used, services.clock, services.analysis))),
        )
        try:
            yield
        finally:
            for watcher in watchers:
                watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watcher
            await services.commits.close()
            if store is None:
                used.close()

    # Without documentation pages: they would load scripts from elsewhere.
    app = FastAPI(
        title="Offer recommendations",
        version=version("offer-recsys"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services, app.state.doorkeeper = services, doorkeeper
    install_failures(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    add_api(app, services)
    if settings.is_portal_enabled:
        app.include_router(create_router(services))
    return app


async def _look(services: Services, doorkeeper: Doorkeeper) -> None:
    """See what changed outside; what fails is tried again later, and does not keep the rest from it."""
    for look in (partial(services.scoring.refresh, services.clock.now()), doorkeeper.refresh):
        await _try(look)


async def _try(look: Callable[[], None]) -> None:
    try:
        await asyncio.to_thread(look)
    except RecsysError as error:
        log("refresh_failed", level=logging.WARNING, cause=str(error))
    except Exception as error:  # noqa: BLE001 -- a look that dies would leave this worker behind for good
        log("refresh_failed", level=logging.ERROR, error=error, cause=repr(error))


async def _watch(services: Services, doorkeeper: Doorkeeper) -> None:
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        await _look(services, doorkeeper)


async def _guard(guard: Guard) -> None:
    """Judge the experiments beside the looks, which it would keep waiting."""
    while True:
        await _try(guard.look)
        await asyncio.sleep(_SECONDS_BETWEEN_GUARDS)


def from_environment() -> FastAPI:
    """The app that the ``RECSYS_*`` variables describe; each worker calls this."""
    configure_logging()
    app = create_app(read_settings({}))
    spare_collections()
    return app


def spare_collections() -> None:
    """Leave all that exists now out of every later garbage collection.

    The modules alone are 300,000 objects; looking through them stops all requests for a tenth of a second.
    """
    gc.collect()
    gc.freeze()


def run(settings: Settings) -> None:
    """Serve until interrupted."""
    configure_logging()
    os.environ.update(_as_environment(settings))
    uvicorn.run(
        "serving.app:from_environment",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
    )


def _as_environment(settings: Settings) -> Mapping[str, str]:
    """The settings as the variables from which a worker reads them."""
    return {
        f"RECSYS_{name.upper()}": str(value)
        for name, value in settings.model_dump().items()
        if value is not None
    }

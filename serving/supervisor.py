"""The processes of a server: one that answers, or one that watches several.

The one that watches loads the program once, and each of the others begins as its copy: no worker waits for
modules, neither at the start nor after another one died, and what they share is in memory once.
"""

from __future__ import annotations

import gc
import logging
import math
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from socket import socket
from threading import Thread
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn._subprocess import subprocess_started
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess, multiprocess
from uvicorn.supervisors.multiprocess import SIGNALS

from serving.settings import Settings
from serving.telemetry import configure_logging, log
from serving.telemetry.spool import clear

_APP: Final = "serving.app:from_environment"
_PROTOCOL: Final = "serving.web.connections:PatientProtocol"
_SECONDS_BETWEEN_LOOKS: Final = 0.1
_SECONDS_TO_END: Final = 5


def run(settings: Settings) -> None:
    """Serve until a signal ends it; returns when every request that was begun is answered."""
    gc.disable()  # what a start makes stays: looking for garbage in it would only take time
    configure_logging()
    with metrics_folder(settings.metrics_dir, settings.workers) as folder:
        os.environ.update(_as_environment(settings.model_copy(update={"metrics_dir": folder})))
        _serve(
            uvicorn.Config(
                _APP,
                factory=True,
                host=settings.host,
                port=settings.port,
                workers=settings.workers,
                loop="uvloop",
                http=_PROTOCOL,
                timeout_graceful_shutdown=math.ceil(settings.request_seconds) + _SECONDS_TO_END,
                access_log=False,
                log_config=None,
                server_header=False,
            )
        )


def _as_environment(settings: Settings) -> Mapping[str, str]:
    """The settings as the variables from which a worker reads them."""
    return {
        f"RECSYS_{name.upper()}": str(value)
        for name, value in settings.model_dump().items()
        if value is not None
    }


def _serve(config: uvicorn.Config) -> None:
    if config.workers > 1:
        _load()
        watcher = _Watcher(config, [config.bind_socket()])
        watcher.run()
        if any(process.exitcode == STARTUP_FAILURE for process in watcher.processes):
            sys.exit(STARTUP_FAILURE)
        return
    server = uvicorn.Server(config)
    # uvicorn raises the signal that ended it once more: a server that ended in order has not failed.
    signal.signal(signal.SIGTERM, _leave)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _load() -> None:
    """Load what workers answer with, for each to begin with."""
    import_module(_APP.partition(":")[0])
    import_module(_PROTOCOL.partition(":")[0])
    gc.freeze()  # a collection would write to each object, and so copy its page of memory for each worker
    gc.enable()
    # where uvicorn gets a process, which would load everything anew
    multiprocess.get_subprocess = _copy_of_this  # type: ignore[assignment, attr-defined]


class _Copy(multiprocessing.context.ForkProcess):
    """A copy of this process; signals wait until it hears them for itself."""

    def start(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _copy_of_this(config: uvicorn.Config, target: Callable[..., None], sockets: list[socket]) -> _Copy:
    arguments = {"config": config, "target": target, "sockets": sockets, "stdin_fileno": None}
    arguments["watcher"] = os.getpid()
    return _Copy(target=_begin, kwargs=arguments)


def _begin(watcher: int, **arguments: Any) -> None:
    """Begin as a worker: a signal ends it, and is not put down for a watcher, as it is in the original."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    Thread(target=_end_with, args=(watcher,), daemon=True).start()
    subprocess_started(**arguments)


def _end_with(watcher: int) -> None:
    """End in order when the watcher is gone: who was killed passes no signal on, and the port stays taken."""
    while os.getppid() == watcher:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    log("watcher_gone", level=logging.WARNING, cause="the first process was killed: its workers end too")
    os.kill(os.getpid(), signal.SIGTERM)


class _Watcher(Multiprocess):
    """Passes a second signal on: uvicorn's own waits for its workers and hears nothing meanwhile."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._listeners = sockets

    def join_all(self) -> None:
        """Wait for the workers."""
        for listener in self._listeners:
            listener.close()  # who comes now shall be refused at once, and not wait for nobody
        self.signal_queue.clear()
        while any(process.process.is_alive() for process in self.processes):
            numbers = {*self.signal_queue} & {signal.SIGTERM, signal.SIGINT}
            self.signal_queue.clear()
            for number in numbers:
                self._pass_on(number)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        super().join_all()

    def _pass_on(self, number: int) -> None:
        log("signal_passed_on", signal=signal.Signals(number).name)
        for process in self.processes:
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)


@contextmanager
def metrics_folder(wanted: Path | None, n_workers: int) -> Iterator[Path | None]:
    """An empty folder in which workers leave their figures; None where there is one worker alone.

    Args:
        wanted: The folder to use; None = a temporary one, gone afterwards.
        n_workers: How many will use it.

    Raises:
        OSError: It cannot be written.
    """
    if wanted is not None:
        clear(wanted)
        yield wanted
        return
    if n_workers == 1:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="recsys-metrics-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

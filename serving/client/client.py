"""The client: one method for each thing that a portal or a feed asks or tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from serving.client.answers import (
    Eligibility,
    Known,
    Offers,
    Readiness,
    Recommendations,
    Recorded,
)
from serving.client.decode import read
from serving.client.errors import NoAnswerError
from serving.client.questions import (
    EligibilityQuestion,
    Event,
    Holding,
    Month,
    Profile,
    Question,
    new_id,
    to_json,
)
from serving.client.transport import Patience, Transport

Shape = TypeVar("Shape")


class Client:
    """Asks the service and tells it what happened; may be shared by threads.

    Connections are kept and used again. What fails in passing (a broken connection, no answer in time, 408,
    429, 502, 503, 504) is asked again within `patience`: every call here does once what it does twice, by the
    request_id or event_id that is sent along.

    Args:
        url: Root of the service, for example ``https://recsys.example``.
        key: API key or member token; a function is asked before every try, for tokens that expire.
        patience: How long is waited, and how often asked.
        ca_file: Certificates to trust; None = the machine's.
        wait: Sleeps for some seconds.

    Raises:
        ValueError: The url is none.
    """

    def __init__(
        self,
        url: str,
        key: str | Callable[[], str],
        patience: Patience | None = None,
        ca_file: Path | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = Transport(url, key, patience or Patience(), ca_file, wait)

    @property
    def url(self) -> str:
        """Root of the service."""
        return self._transport.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections; a later call opens new ones."""
        self._transport.close()

    def recommend(self, question: Question) -> Recommendations:
        """Which offers a client should see now, and why.

        Raises:
            RefusedError: The service answered with a failure.
            NoAnswerError: No answer came; the page shows what it shows without recommendations.
        """
        asked = question if question.request_id is not None else replace(question, request_id=new_id())
        return self._ask(Recommendations, "POST", "/v1/recommendations", asked)

    def record(self, events: Sequence[Event]) -> Recorded:
        """Tell what happened: all events (1–1000) are stored or none, each once, however often it is sent.

        Raises:
            InvalidError: An event cannot be true; ``details["faults"]`` names each.
            RefusedError: The service answered with a failure.
            NoAnswerError: No answer came; send the same objects again later.
        """
        return self._ask(Recorded, "POST", "/v1/events", {"events": events})

    def check_eligibility(self, question: EligibilityQuestion) -> tuple[Eligibility, ...]:
        """Whether a client may connect offers, and why not; one answer for each, in the order asked.

        Raises:
            NotFoundError: There is no such offer.
            RefusedError: The service answered with a failure.
            NoAnswerError: No answer came.
        """
        told = self._transport.ask("POST", "/v1/eligibility", to_json(question))
        return tuple(_read(Eligibility, each) for each in _list(told, "offers"))

    def put_client(self, client_id: str, profile: Profile) -> Known:
        """Create a client, or replace its profile from now on.

        Raises:
            RefusedError: The service answered with a failure.
            NoAnswerError: No answer came.
        """
        return self._ask(Known, "PUT", _client_path(client_id), profile)

    def get_client(self, client_id: str) -> Known:
        """What decisions read of a client.

        Raises:
            NotFoundError: There is no such client.
            RefusedError: The service answered with a failure.
            NoAnswerError: No answer came.
        """
        return self._ask(Known, "GET", _client_path(client_id))

    def put_holdings(self, holdings: Sequence[Holding]) -> Mapping[str, int]:
        """Connect services, change their quantity or end them (1–1000): all or none.

        Returns:
            The new version of each client's state, by client_id.

        Raises:
            NotFoundError: A client or an offer is unknown.
            ConflictError: A holding_id belongs to another client or offer.
            RefusedError: The service answered with another failure.
            NoAnswerError: No answer came.
        """
        return self._versions("/v1/holdings", {"holdings": holdings})

    def put_months(self, months: Sequence[Month]) -> Mapping[str, int]:
        """Store figures of months (1–1000): all or none.

        Returns:
            The new version of each client's state, by client_id.

        Raises:
            NotFoundError: A client is unknown.
            RefusedError: The service answered with another failure.
            NoAnswerError: No answer came.
        """
        return self._versions("/v1/client-months", {"months": months})

    def offers(self) -> Offers:
        """The catalogue in force, ordered by offer_id; stopped and outdated offers too.

        Raises:
            RefusedError: The service answered with a failure.
            NoAnswerError: No answer came.
        """
        return self._ask(Offers, "GET", "/v1/offers")

    def readiness(self) -> Readiness:
        """Whether requests can be answered; one that cannot is an answer too.

        Raises:
            NoAnswerError: Nobody answers there.
        """
        return _read(Readiness, self._transport.ask("GET", "/ready", also=frozenset({503})))

    def _ask(self, shape: type[Shape], method: str, path: str, question: object = None) -> Shape:
        return _read(shape, self._transport.ask(method, path, to_json(question)))

    def _versions(self, path: str, question: object) -> Mapping[str, int]:
        told = _list(self._transport.ask("POST", path, to_json(question)), "clients")
        return {str(each["client_id"]): int(each["state_version"]) for each in told}


def _client_path(client_id: str) -> str:
    # What stands between slashes is an address of its own, even where the slash is written as %2F.
    if client_id in ("", ".", "..") or "/" in client_id:
        raise ValueError(f"the client_id {client_id!r} cannot stand in an address")
    return f"/v1/clients/{quote(client_id, safe='')}"


def _read(shape: type[Shape], told: object) -> Shape:
    try:
        return read(shape, told)
    except ValueError as error:
        raise NoAnswerError(f"the answer is none that this client can read: {error}") from error


def _list(told: Any, name: str) -> list[Any]:
    found = told.get(name) if isinstance(told, Mapping) else None
    if not isinstance(found, list):
        raise NoAnswerError(f"the answer is none that this client can read: it has no {name}")
    return found

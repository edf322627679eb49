"""The routes of the demo portal: the page, and the few questions that it asks.

There is no log-in, so the portal answers only a browser that reached it under a loopback name and only
the page's own requests; it is off unless ``RECSYS_IS_PORTAL_ENABLED`` says otherwise.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from recsys.data.state import present
from recsys.decision.conditions.facts import Moment
from recsys.domain import MAX_ID_LENGTH, ClientId, ClientState
from recsys.errors import ForbiddenError, UnknownPlacementError
from serving.portal.accounts import ListAccount, complaint_until, list_account, silences
from serving.portal.actions import (
    apply_for_offer,
    connect_offer,
    expand_offer,
    renew_offer,
    report_events,
    switch_profiling,
)
from serving.portal.files import SECURITY_HEADERS, read_page_files
from serving.portal.questions import (
    EventsQuestion,
    ExpansionQuestion,
    ExplanationQuestion,
    ProfilingQuestion,
    RenewalQuestion,
    ShownOffer,
    ViewQuestion,
)
from serving.portal.views import (
    CardWriter,
    ClientCards,
    EventsAnswer,
    View,
    client_card,
    month_card,
    placement_list,
    service_rows,
    telling_examples,
)
from serving.services.clients import find_clients
from serving.services.explanation import explain
from serving.services.recommend import recommend
from serving.services.recommendation import ListWanted
from serving.services.recommendation import Query as RecommendationQuery
from serving.services.services import Services

CHANNEL = "demo-portal"
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_OWN_REQUESTS = frozenset({"same-origin", "none"})
_ORDER = ("banner", "home", "partners")
_N_EXAMPLES = 5
# Names begin with the legal form, so one alphabetical list would show lawyers only.
_EXAMPLE_SEARCHES = ("ооо", "ип", "ао", "")
_N_CONSIDERED = 100
_N_FOUND = 8


def create_router(services: Services) -> APIRouter:
    """The portal, ready to be included into the app at the root.

    Args:
        services: What the REST API uses too.
    """
    router = APIRouter(include_in_schema=False)
    router.include_router(_page_router())
    guard = [Depends(refuse_strangers)]
    router.include_router(_reading_router(services), prefix="/portal/api", dependencies=guard)
    router.include_router(_acting_router(services), prefix="/portal/api", dependencies=guard)
    return router


def refuse_strangers(request: Request) -> None:
    """Let in only this machine's browser, and only the portal's own page.

    The Host header shows a foreign name that was made to point here (DNS rebinding), Sec-Fetch-Site
    another site's page.

    Raises:
        ForbiddenError: The request came another way.
    """
    if request.url.hostname not in _LOOPBACK_NAMES:
        raise ForbiddenError(
            "the demo portal answers on this machine only: open it as http://127.0.0.1:PORT/"
        )
    if request.headers.get("sec-fetch-site", "none") not in _OWN_REQUESTS:
        raise ForbiddenError("the demo portal answers its own page only")


def _page_router() -> APIRouter:
    router = APIRouter()
    page_files = read_page_files()

    def send(name: str, request: Request) -> Response:
        file = page_files.get(name)
        if file is None:
            return Response(status_code=404)
        headers = {**SECURITY_HEADERS, "Cache-Control": "no-cache", "ETag": file.etag}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    @router.get("/")
    def lead_to_portal() -> RedirectResponse:
        return RedirectResponse("/portal/")

    @router.get("/portal/")
    def show_page(request: Request) -> Response:
        return send("index.html", request)

    @router.get("/portal/static/{name}")
    def show_file(name: str, request: Request) -> Response:
        return send(name, request)

    return router


def _reading_router(services: Services) -> APIRouter:
    router = APIRouter()

    @router.get("/examples")
    async def show_examples() -> ClientCards:
        today = services.clock.now().date()
        states = [
            state for text in _EXAMPLE_SEARCHES for state in await find_clients(services, text, _N_CONSIDERED)
        ]
        cards = [client_card(one.client_id, one, today) for one in telling_examples(states, _N_EXAMPLES)]
        # A new name each time, so that the guest is one again after somebody connected something as a guest.
        guest = client_card(f"guest-{secrets.token_hex(4)}", None, today)
        return ClientCards(clients=[*cards, guest])

    @router.get("/clients")
    async def search(text: Annotated[str, Query(min_length=1, max_length=80)]) -> ClientCards:
        today = services.clock.now().date()
        states = await find_clients(services, text, _N_FOUND)
        return ClientCards(clients=[client_card(one.client_id, one, today) for one in states])

    @router.post("/views")
    async def show_view(question: ViewQuestion) -> View:
        return await build_view(services, question)

    @router.post("/explanations")
    async def explain_list(question: ExplanationQuestion) -> ListAccount:
        known = services.scoring.world.engine.placements
        if question.placement_id not in known:
            raise UnknownPlacementError(question.placement_id, f"known: {', '.join(known)}")
        return list_account(await explain(services, _query(services, question)), question.placement_id)

    return router


def _acting_router(services: Services) -> APIRouter:
    router = APIRouter()

    @router.post("/events")
    async def store_events(question: EventsQuestion) -> EventsAnswer:
        return EventsAnswer(n_new=await report_events(services, question))

    @router.post("/connections", status_code=204)
    async def connect(question: ShownOffer) -> None:
        await connect_offer(services, question)

    @router.post("/renewals", status_code=204)
    async def renew(question: RenewalQuestion) -> None:
        await renew_offer(services, question)

    @router.post("/expansions", status_code=204)
    async def expand(question: ExpansionQuestion) -> None:
        await expand_offer(services, question)

    @router.post("/applications", status_code=204)
    async def apply(question: ShownOffer) -> None:
        await apply_for_offer(services, question)

    @router.put("/clients/{client_id}/profiling", status_code=204)
    async def switch(
        client_id: Annotated[str, Path(min_length=1, max_length=MAX_ID_LENGTH)], question: ProfilingQuestion
    ) -> None:
        await switch_profiling(services, client_id, is_allowed=question.is_allowed)

    return router


async def build_view(services: Services, question: ViewQuestion) -> View:
    """Decide and gather all that the page shows of a company."""
    client_id, language = ClientId(question.client_id), question.language
    recommendation = await recommend(services, _query(services, question))
    stored = await services.ask(services.store.client_state, client_id)
    now, world = services.clock.now(), services.scoring.world
    state = present(stored or ClientState(client_id), now)
    cards = CardWriter(world, state, language, now.date())
    moment = Moment(now, channel=CHANNEL, language=language, zone=world.engine.zone)
    return View(
        client=client_card(client_id, None if stored is None else state, now.date()),
        month=month_card(state),
        complaint_until=complaint_until(world, state, now),
        currency=recommendation.currency,
        holdings=service_rows(state.holdings, world.catalogue, language),
        placements=[
            placement_list(
                recommendation,
                shown,
                cards,
                silences(shown, world, state, replace(moment, placement=shown.placement_id), language),
            )
            for shown in recommendation.lists
        ],
    )


def _query(services: Services, question: ViewQuestion) -> RecommendationQuery:
    """All lists, the most striking place first: an offer is shown in the first that takes it."""
    known = services.scoring.world.engine.placements
    ordered = [name for name in _ORDER if name in known] + [name for name in known if name not in _ORDER]
    return RecommendationQuery(
        client_id=ClientId(question.client_id),
        lists=tuple(ListWanted(name) for name in ordered),
        channel=CHANNEL,
        language=question.language,
        is_explained=True,
    )

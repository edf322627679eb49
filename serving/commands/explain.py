"""``recsys-serve explain``: why a client sees these offers and not those."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from recsys.domain import ClientId, Language, MemberRole
from recsys.errors import ConfigError
from serving.commands.terminal import JsonOption, bundle_hint, note, open_existing_store, print_table, say
from serving.settings import Settings, read_settings

if TYPE_CHECKING:
    from serving.services.explanation import Explanation
    from serving.services.recommendation import ListWanted, Query

_TABLE_COLUMNS = 140


def explain(  # noqa: PLR0913 – the parameters of the command
    client: Annotated[str, typer.Argument(help="The client.", metavar="CLIENT")],
    placement: Annotated[
        str | None, typer.Option(help="Placement of the list; left out = every one.", metavar="ID")
    ] = None,
    offer: Annotated[
        str | None, typer.Option(help="Tell of this offer only: shown or refused, and why.", metavar="ID")
    ] = None,
    member: Annotated[str | None, typer.Option(help="What if this member looks.", metavar="ID")] = None,
    role: Annotated[MemberRole | None, typer.Option(help="What if it has this role.")] = None,
    limit: Annotated[
        float | None,
        typer.Option(
            min=0, help="What if it may spend so much: 5000 = 5,000 in the currency.", metavar="SUM"
        ),
    ] = None,
    bundles: Annotated[
        Path | None, typer.Option(help="Folder of bundles; default: RECSYS_BUNDLES_DIR.", metavar="DIR")
    ] = None,
    language: Annotated[Language, typer.Option(help="Language of the text.")] = Language.EN,
    as_json: JsonOption = False,
) -> None:
    """Decide as the server would now, log nothing, and say why each offer is or is not on the list."""
    from serving.services.recommendation import Query

    query = Query(
        ClientId(client),
        lists=(),
        member_id=member,
        role=role,
        spending_limit_minor=None if limit is None else round(limit * 100),
        language=language,
    )
    settings = read_settings({} if bundles is None else {"bundles_dir": bundles})
    hint = bundle_hint(settings.bundles_dir)
    explanation = asyncio.run(_explain(query, placement, offer, settings))
    if as_json:
        _print_json(explanation, offer)
        return
    _note_origin(explanation, hint)
    _print(explanation, offer, language)


async def _explain(query: Query, placement: str | None, offer: str | None, settings: Settings) -> Explanation:
    from serving.app import SystemClock
    from serving.services.commit_queue import CommitQueue
    from serving.services.explanation import explain as run
    from serving.services.explanation import unknown_offer
    from serving.services.recommendation import ListWanted
    from serving.services.scoring import Scoring
    from serving.services.services import Services
    from serving.telemetry import LOGGER_NAME

    # What the server logs is said here in one line each.
    logging.getLogger(LOGGER_NAME).addHandler(logging.NullHandler())
    with open_existing_store() as store:
        clock = SystemClock()
        scoring = Scoring(
            store, settings.bundles_dir, ZoneInfo(settings.time_zone), cache_size=0, is_logging=False
        )
        scoring.refresh(clock.now())
        world = scoring.world
        if len(world.catalogue) == 0:
            raise ConfigError(
                f"the catalogue of {store.place} is empty, there is nothing to explain: fill it with"
                " `recsys-serve load DIR`"
            )
        if offer is not None and offer not in world.catalogue.positions:
            raise unknown_offer(offer, world.catalogue.positions)
        wanted = tuple(world.engine.placements) if placement is None else (placement,)
        lists: tuple[ListWanted, ...] = tuple(ListWanted(one) for one in wanted)
        for fault in (scoring.policy_fault, *scoring.source.faults):
            if fault:
                note(fault)
        return await run(Services(store, CommitQueue(store), scoring, clock), replace(query, lists=lists))


def _note_origin(explanation: Explanation, hint: str | None) -> None:
    given = explanation.recommendation
    note(f"client {given.client_id}; policy {given.versions.policy}, bundle {given.versions.bundle or '–'}")
    if not given.is_client_known:
        note(f"client {given.client_id} is unknown: decided as for a company of which nothing is stored")
    if hint and given.versions.bundle is None:
        note(hint)
    elif given.degraded == "no_bundle":
        note("no bundle: ordered by popularity")
    elif given.degraded and given.degraded != "arm_unavailable":  # the lines of the arms say it
        note(f"the bundle was not used ({given.degraded}): ordered by popularity")


def _print_json(explanation: Explanation, offer: str | None) -> None:
    from serving.api.explanations import explanations_answer

    answer = explanations_answer(explanation)
    if offer is not None:
        for one in answer.placements:
            one.shown = [shown for shown in one.shown if shown.offer_id == offer]
            one.suppressed = [refused for refused in one.suppressed if refused.offer_id == offer]
    say(answer.model_dump(mode="json"))


def _print(explanation: Explanation, offer: str | None, language: Language) -> None:
    from rich.console import Console

    from serving.commands.account_lines import Lines

    lines = Lines(explanation, language)
    if offer is None and sys.stdout.isatty() and Console().width >= _TABLE_COLUMNS:
        for line in (*lines.arms(), lines.legend):
            say(line)
        for table in lines.tables():
            say(f"\n{table.title}")
            print_table(table.header, table.rows)
        return
    for line in lines.all() if offer is None else lines.of_offer(offer):
        say(line)

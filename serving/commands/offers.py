"""``recsys-serve offer``: stop, resume, list."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from serving.commands.terminal import (
    AUTHOR,
    AtOption,
    JsonOption,
    effective_at_of,
    local_minute,
    note,
    open_store,
    print_table,
    say,
    warn,
    zone_of_settings,
)

app = typer.Typer(help="Offers: stop, resume, list.", no_args_is_help=True)

OfferArgument = Annotated[str, typer.Argument(help="The offer.", metavar="ID")]
ReasonOption = Annotated[str, typer.Option(help="Why, for those who read it later.")]


@app.command("stop")
def stop(
    offer_id: OfferArgument, reason: ReasonOption, at: AtOption = None, as_json: JsonOption = False
) -> None:
    """Take an offer off; every worker of every server knows within a second."""
    _order(offer_id, reason, at, is_stopped=True, as_json=as_json)


@app.command("resume")
def resume(
    offer_id: OfferArgument, reason: ReasonOption, at: AtOption = None, as_json: JsonOption = False
) -> None:
    """Put a stopped offer back; what is announced for later is called off."""
    _order(offer_id, reason, at, is_stopped=False, as_json=as_json)


@app.command("list")
def list_offers(
    is_stopped_only: Annotated[bool, typer.Option("--stopped", help="Only those that are stopped.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the offers, and of stopped ones and those that will be who said so, when and why."""
    from serving.services.stops import present_stops

    now, zone = datetime.now(UTC), zone_of_settings()
    with open_store() as store:
        offers, stops = store.catalogue(now).offers, present_stops(store, now)
    shown = [offer for offer in offers if offer.is_stopped or not is_stopped_only]
    if as_json:
        entries = [
            {
                "offer_id": offer.offer_id,
                "title": dict(offer.title),
                "is_stopped": offer.is_stopped,
                "latest_stop": asdict(stops[offer.offer_id]) if offer.offer_id in stops else None,
            }
            for offer in shown
        ]
        say({"offers": entries})
        return
    rows = []
    for offer in shown:
        said = stops.get(offer.offer_id)
        why = ("by its data" if offer.is_stopped else "", "", "")
        if said is not None and (said.effective_at <= now or not offer.is_stopped):
            since = local_minute(said.effective_at, zone)
            why = (since if said.effective_at <= now else f"announced: {since}", said.author, said.reason)
        rows.append((offer.offer_id, offer.title.get("en", ""), *why))
    print_table(("offer_id", "title", "stopped", "by", "reason"), rows)


def _order(offer_id: str, reason: str, at: str | None, *, is_stopped: bool, as_json: bool) -> None:
    from serving.services.stops import StopOrder, order_stop

    effective_at = effective_at_of(at)
    with open_store() as store:
        order = StopOrder(offer_id, is_stopped, reason, AUTHOR, effective_at)
        said, warnings = order_stop(store, order, datetime.now(UTC))
    warn(warnings)
    if as_json:
        say({**asdict(said), "warnings": warnings})
        return
    what = "stopped" if is_stopped else "resumed"
    note(f"offer {offer_id} is {what} from {local_minute(said.effective_at, zone_of_settings())} on")

"""The difference of two policies for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.table import Table

from recsys.texts import currency_sign
from training.pipelines.policies.diff import SEGMENTS, PolicyDiff

_N_OFFERS_SHOWN = 10
_MINOR_UNITS = 100
_VALUES = {
    "adoption": "P(adoption) × margin a month",
    "acceptance": "P(acceptance) × margin a month",
    "holder_share": "share of holders × margin a month (orders, predicts nothing)",
}


def render_diff(result: PolicyDiff) -> RenderableType:
    """The result for a terminal."""
    totals = Table(title=_title(result), box=None)
    totals.add_column("")
    totals.add_column("", justify="right")
    moment = datetime.fromisoformat(result.as_of).astimezone(ZoneInfo(result.time_zone))
    totals.add_row("as of", f"{moment:%Y-%m-%d %H:%M} ({result.time_zone})")
    share = _percent(result.n_changed, result.n_clients)
    changed = f"{result.n_changed:,} of {result.n_clients:,} ({share})"
    totals.add_row(f"clients whose top {result.k} of {result.placement!r} changes", changed)
    value = _VALUES[result.weight]
    totals.add_row(f"{value}, before", _money(result.value_before_minor, result))
    totals.add_row(f"{value}, after", _money(result.value_after_minor, result))
    return Group(totals, *_segment_tables(result), _offer_table(result))


def _title(result: PolicyDiff) -> str:
    return f"{result.before_place} ({result.before}) → {result.after_place} ({result.after})"


def _segment_tables(result: PolicyDiff) -> Iterator[Table]:
    for name in SEGMENTS:
        table = Table(title=f"by {name}", box=None)
        table.add_column(name)
        for column in ("clients", "changed", "share", "before", "after"):
            table.add_column(column, justify="right")
        for each in result.segments:
            if each.segment == name and each.n_changed:
                share = _percent(each.n_changed, each.n_clients)
                value = _money(each.value_before_minor, result), _money(each.value_after_minor, result)
                table.add_row(each.value, f"{each.n_clients:,}", f"{each.n_changed:,}", share, *value)
        if table.row_count:
            yield table


def _offer_table(result: PolicyDiff) -> Table:
    gains = [offer for offer in result.offers if offer.n_after > offer.n_before][:_N_OFFERS_SHOWN]
    losses = [offer for offer in result.offers if offer.n_after < offer.n_before][-_N_OFFERS_SHOWN:]
    table = Table(title=f"offers that gain and lose lists, at most {_N_OFFERS_SHOWN} each", box=None)
    table.add_column("offer")
    for column in ("before", "after", "change"):
        table.add_column(column, justify="right")
    for offer in (*gains, *losses):
        difference = offer.n_after - offer.n_before
        table.add_row(offer.offer_id, f"{offer.n_before:,}", f"{offer.n_after:,}", f"{difference:+,}")
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def _money(minor: int, result: PolicyDiff) -> str:
    return f"{minor / _MINOR_UNITS:,.0f} {currency_sign(result.currency)}".rstrip()

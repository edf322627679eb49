"""Leads for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from training.pipelines.scoring.lead_choice import PER_CLIENT, PER_MANAGER
from training.pipelines.scoring.leads import (
    HELD_OUT,
    NOTHING_ALLOWED,
    NOTHING_GAINED,
    OPEN_APPLICATION,
    OTHER_CHANGE,
    PROFILING_OFF,
    Leads,
)
from training.pipelines.scoring.score import moment_text

_MINOR_UNITS = 100
_N_REASONS_SHOWN = 8
_N_LEADS_SHOWN = 10
_WORDS = {
    PROFILING_OFF: "profiling is switched off",
    HELD_OUT: "held out, to measure what recommendations bring",
    OPEN_APPLICATION: "an application is open",
    NOTHING_ALLOWED: "the rules let nothing through",
    NOTHING_GAINED: "what is let through brings no known margin",
    OTHER_CHANGE: "a change that was not asked for",
    "stopped": "stopped by hand",
    "not_yet_live": "not offered yet",
    "no_longer_live": "not offered any more",
    "region": "not offered in the client's region",
    "supplier_suspended": "the supplier is suspended",
    "legal_form": "not for the client's legal form",
    "already_connected": "connected already",
    "exclusive_slot": "the client has one that takes the same place",
    "excludes": "excluded by what the client has",
    "requires": "needs something that the client has not",
    "budget_limit": "over the budget",
    "complaint_open": "a complaint is open",
    "dismissed_not_now": "put aside: not now",
    "dismissed_irrelevant": "put aside: irrelevant",
    "dismissed_have_elsewhere": "put aside: has it elsewhere",
    "dismissed_too_expensive": "put aside: too expensive",
    "placement_kind": "of a kind that the placement does not show",
    "below_least_priority": "below the least priority",
    PER_CLIENT: "enough leads of that client",
    PER_MANAGER: "enough leads of that account manager",
}


def render_leads(leads: Leads, out: Path) -> RenderableType:
    """The result for a terminal."""
    return Group(
        f"leads: {out / 'leads.csv'}",
        _totals(leads),
        _counts("clients without a lead: why", leads.clients_out),
        _counts("pairs kept out: by which rule", leads.pairs_out),
        _counts("pairs kept out though worth more than the last lead", leads.limited),
        _first(leads),
    )


def _totals(leads: Leads) -> Table:
    table = Table(
        title=f"{moment_text(leads.as_of, leads.time_zone)}, rules of {leads.placement!r}",
        box=None,
        show_header=False,
    )
    table.add_column("")
    table.add_column("", justify="right")
    changes = ", ".join(f"{count:,} {change}" for change, count in leads.changes.items())
    table.add_row("clients", f"{leads.n_clients:,}")
    table.add_row("with something that could be a lead", f"{leads.n_clients_eligible:,}")
    table.add_row("pairs of client and offer that could be one", f"{leads.n_pairs_eligible:,}")
    table.add_row(f"leads, at most {leads.capacity:,}", f"{leads.n_leads:,} ({changes or 'none'})")
    table.add_row("expected margin a month of the list", _money(leads.value_minor, leads.currency))
    if leads.stated_value_minor:
        share = leads.stated_value_minor / leads.value_minor
        table.add_row("of it by the policy's own priors", f"{100 * share:.0f} %")
    table.add_row("leads with the model's probability", f"{leads.n_estimated:,}")
    if leads.times_random is not None:
        estimated = leads.value_minor - leads.stated_value_minor
        table.add_row("expected margin a month of these", _money(estimated, leads.currency))
        drawn = _money(leads.random_value_minor, leads.currency)
        table.add_row("of a random list of as many with it", drawn)
        table.add_row("times the random list", f"{leads.times_random:.1f}")
    return table


def _counts(title: str, counts: Mapping[str, int]) -> Table | str:
    if not counts:
        return ""
    table = Table(title=title, box=None, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    found = sorted(counts.items(), key=lambda item: -item[1])
    for name, count in found[:_N_REASONS_SHOWN]:
        table.add_row(_WORDS.get(name, name), f"{count:,}")
    if rest := sum(count for _, count in found[_N_REASONS_SHOWN:]):
        table.add_row("others", f"{rest:,}")
    return table


def _first(leads: Leads) -> Table:
    table = Table(title="the first leads", box=None)
    table.add_column("client", overflow="fold")
    table.add_column("offer", overflow="fold")
    for name in ("change", "P"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column(f"a month,\n{leads.currency}", no_wrap=True, justify="right")
    for row in leads.rows.head(_N_LEADS_SHOWN).iter_rows(named=True):
        value = f"{row['expected_value_minor'] / _MINOR_UNITS:,.0f}"
        client = f"{row['client_id']} {row['client_name'] or ''}".rstrip()
        table.add_row(escape(client), escape(row["title"]), row["change"], f"{row['probability']:.4f}", value)
    return table


def _money(minor: int, currency: str) -> str:
    return f"{minor / _MINOR_UNITS:,.0f} {currency}"

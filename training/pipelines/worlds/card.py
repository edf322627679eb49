"""The card of a world as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import starmap
from math import isnan

from recsys.simulation.card import Card, Segment
from recsys.simulation.tails import Tail

_N_SUPPLIERS = 3
_BAR = 24


def render_card(card: Card) -> str:
    """The card, about one screen; every section begins with its heading."""
    sections: Mapping[str, Sequence[str]] = {
        "size": list(_size(card)),
        "rates": list(_rates(card)),
        "services added, share of clients by month": list(_months(card)),
        **{f"by {name}": list(_segments(segments)) for name, segments in card.segments.items()},
        "policies of the log": list(_policies(card)),
        "what the offers seen would change": list(_shown(card)),
        "complaints per 1,000 impressions, the suppliers that stand out": list(_suppliers(card)),
    }
    return "\n".join(
        f"{title}\n" + "\n".join(f"  {line}" for line in lines) for title, lines in sections.items()
    )


def _lines(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max(len(name) for name, _ in rows)
    return starmap(lambda name, value: f"{name:<{width}}  {value:>9}", rows)


def _size(card: Card) -> Iterator[str]:
    return _lines(
        (
            ("clients", f"{card.n_clients:,}"),
            ("offers", f"{card.n_offers:,}"),
            ("holdings", f"{card.n_holdings:,}"),
            ("decisions", f"{card.n_decisions:,}"),
            ("events", f"{card.n_events:,}"),
        )
    )


def _rates(card: Card) -> Iterator[str]:
    quality, changes = card.quality, card.changes
    return _lines(
        (
            ("clients adding a service in a month", f"{card.adding:.1%}"),
            ("activations per impression", _percent(card.acceptance)),
            ("tail index of monthly spend", _tail(card.spend_tail)),
            ("tail index of SIM cards", _tail(card.seats_tail)),
            ("tail index of quantities", _tail(card.quantity_tail)),
            *((f"connected by {name}", f"{share:.0%}") for name, share in card.channels.items()),
            ("contracts ended, per client and month", f"{changes.leaving:.2%}"),
            ("contracts begun again", f"{changes.n_returned:,}"),
            ("offers new · withdrawn", f"{changes.n_offers_new} · {changes.n_offers_withdrawn}"),
            ("prices changed", f"{changes.n_price_changes:,}"),
            ("impressions lost", f"{quality.lost:.1%}"),
            ("events late by more than an hour", f"{quality.late:.1%}"),
            ("events twice", f"{quality.duplicate:.1%}"),
        )
    )


def _months(card: Card) -> Iterator[str]:
    most = max((month.adding for month in card.months), default=0) or 1.0
    for month in card.months:
        yield f"{month.month_on:%Y-%m}  {month.adding:5.1%}  {'█' * round(_BAR * month.adding / most)}"


def _segments(segments: Sequence[Segment]) -> Iterator[str]:
    yield f"{'':<12}{'clients':>9}{'seen a month':>14}{'accepted':>10}{'adding':>8}"
    yield from map(_segment, segments)


def _segment(segment: Segment) -> str:
    return (
        f"{segment.name:<12}{segment.share:>9.1%}{segment.exposures:>14.2f}"
        f"{_percent(segment.acceptance):>10}{segment.adding:>8.1%}"
    )


def _policies(card: Card) -> Iterator[str]:
    for policy in card.policies:
        months = f"{policy.first_on:%Y-%m} to {policy.last_on:%Y-%m}"
        share, accepted = f"{policy.certain:.0%} certain", f"{_percent(policy.acceptance)} accepted"
        yield f"{policy.version:<16}{months}{policy.n_decisions:>11,} lists{share:>14}{accepted:>15}"


def _shown(card: Card) -> Iterator[str]:
    for figures in card.shown:
        accepted = _percent(figures.acceptance)
        yield f"{figures.change:<10}{figures.share:>7.1%} of impressions{accepted:>9} accepted"


def _suppliers(card: Card) -> Iterator[str]:
    for supplier in card.suppliers[:_N_SUPPLIERS]:
        rate = 1000 * supplier.n_complaints / supplier.n_impressions
        counts = f"{supplier.n_complaints:,} of {supplier.n_impressions:,}"
        yield f"{supplier.supplier_id:<20}{rate:>6.2f}  ({counts})"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _tail(tail: Tail) -> str:
    return "–" if isnan(tail.index) else f"{tail.index:.2f} ± {tail.standard_error:.2f}"

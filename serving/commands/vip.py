"""``recsys-serve vip``: the review of the VIP status."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.decision.vip import VipReason, VipReview
from recsys.texts import currency_sign, month_text
from serving.commands.terminal import (
    JsonOption,
    Progress,
    note,
    open_existing_store,
    print_table,
    say,
    zone_of_settings,
)

if TYPE_CHECKING:
    from serving.services.vip import VipEntry, VipSummary

_MOST_GAPS = 5
_MISSING = MappingProxyType({VipReason.SPEND_UNKNOWN: "spend", VipReason.NUMBERS_UNKNOWN: "numbers"})

app = typer.Typer(help="The VIP status: review.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `review` a word of its own, which a single command would not be."""


@app.command("review")
def review(
    is_applied: Annotated[
        bool, typer.Option("--apply", help="Write what was found; without it nothing changes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find out who becomes, stays and ceases to be a VIP by the policy in force, and why."""
    from serving.services.vip import review_all

    with open_existing_store() as store:
        summary = review_all(store, datetime.now(UTC), zone_of_settings(), is_applied, Progress().show)
    if as_json:
        say(
            {
                "is_applied": is_applied,
                "n_clients": {outcome.value: n for outcome, n in summary.n_clients.items()},
                "undecided": [
                    {"reasons": gap.reasons, "latest_month_on": gap.latest_on, "n_clients": n_clients}
                    for gap, n_clients in summary.n_gaps.items()
                ],
                "n_conflicts": summary.n_conflicts,
                "clients": [_as_json(entry) for entry in summary.entries],
            }
        )
        return
    _print(summary, is_applied=is_applied)


def _print(summary: VipSummary, *, is_applied: bool) -> None:
    rows = [
        (
            entry.client_id,
            entry.review.outcome.value,
            entry.name or "",
            "; ".join(_why(reason, entry.review, summary) for reason in entry.review.reasons) or "qualifies",
            _spend(entry.review, summary),
            _numbers(entry.review, summary),
        )
        for entry in sorted(summary.entries, key=lambda entry: (entry.review.outcome, entry.client_id))
    ]
    if rows:
        print_table(("client_id", "outcome", "name", "why", "spend a month", "numbers"), rows)
    note(", ".join(f"{outcome}: {n}" for outcome, n in sorted(summary.n_clients.items())) or "no clients")
    for line in _gaps(summary):
        note(line)
    if summary.n_conflicts:
        note(f"{summary.n_conflicts} were changed by somebody else meanwhile and left alone; review again")
    if not is_applied and rows:
        note("nothing was written; --apply does")


def _why(reason: VipReason, review: VipReview, summary: VipSummary) -> str:
    match reason:
        case VipReason.SPEND_TOO_LOW:
            return f"spends {_spend(review, summary)} needed"
        case VipReason.TOO_MANY_NUMBERS:
            return f"has {_numbers(review, summary)} allowed"
        case VipReason.SPEND_UNKNOWN:
            return "spend unknown"
        case VipReason.NUMBERS_UNKNOWN:
            return "numbers unknown"


def _spend(review: VipReview, summary: VipSummary) -> str:
    if review.mean_spend_minor is None:
        return "–"
    least = money_text(summary.spec.min_mean_spend_minor, summary.currency)
    return f"{money_text(review.mean_spend_minor, summary.currency)} of {least}"


def _numbers(review: VipReview, summary: VipSummary) -> str:
    most, known = summary.spec.max_numbers, review.n_numbers
    if known is None:
        return f"more than {most}" if VipReason.TOO_MANY_NUMBERS in review.reasons else "–"
    return str(known) if most is None else f"{known} of {most}"


def _gaps(summary: VipSummary) -> Iterator[str]:
    """Why clients are undecided, the most frequent cause first."""
    in_order = sorted(summary.n_gaps.items(), key=lambda entry: -entry[1])
    for gap, n_clients in in_order[:_MOST_GAPS]:
        missing = " and ".join(_MISSING[reason] for reason in gap.reasons)
        latest = (
            "no figures" if gap.latest_on is None else f"figures end in {month_text(gap.latest_on, 'en')}"
        )
        yield f"  undecided {n_clients}: {missing} unknown; {latest}"
    if rest := sum(n_clients for _, n_clients in in_order[_MOST_GAPS:]):
        yield f"  undecided {rest}: other months or figures; --json names all"
    if in_order:
        n_months = summary.spec.months
        months = "the latest whole month" if n_months == 1 else f"the latest {n_months} whole months"
        yield f"  a review needs {months}, none missing, the last one at most two months back"


def money_text(amount_minor: int, currency: str | None) -> str:
    """An amount for people, without its hundredths where it has none.

    Example:
        >>> money_text(6_000_000, "RUB"), money_text(99, None)
        ('60,000 ₽', '0.99')
    """
    return f"{f'{amount_minor / 100:,.2f}'.removesuffix('.00')} {currency_sign(currency)}".strip()


def _as_json(entry: VipEntry) -> dict[str, object]:
    review = entry.review
    return {
        "client_id": entry.client_id,
        "name": entry.name,
        "outcome": review.outcome,
        "reasons": review.reasons,
        "mean_spend_minor": review.mean_spend_minor,
        "n_numbers": review.n_numbers,
        "due_on": review.due_on,
        "is_written": entry.is_written,
    }

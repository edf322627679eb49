"""Draw the pictures of docs/worlds.md anew, and print its tables: `make pictures`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl
import vl_convert
from threadpoolctl import threadpool_limits

from recsys.domain import Change
from recsys.simulation.card import Card, make_card
from recsys.simulation.catalogue import read_catalogue
from recsys.simulation.grain import Tables, monthly_figures
from recsys.simulation.record import record_world
from recsys.simulation.tails import Tail
from recsys.simulation.world import World

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "datasets" / "demo"
IMAGES = ROOT / "docs" / "images"
WORLDS = ("typical", "small", "sparse", "drifting", "adversarial")
N_CLIENTS = 5000
ENOUGH = 1000  # below it, what a stage does is luck
# distinguishable with every common colour deficiency (Okabe & Ito)
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00"]
BY_WORLD = alt.Color("world:N", sort=WORLDS, scale=alt.Scale(domain=WORLDS, range=COLOURS), title=None)
STAGES = ("onboarding", "growth", "reactivated", "steady", "mature", "at_risk", "dormant")
SIZES = ("micro", "small", "medium", "large")


def save(name: str, chart: alt.TopLevelMixin) -> None:
    """Write a chart as a picture for pages of about 800 pixels."""
    styled = chart.configure(font="Helvetica, Arial, sans-serif").configure_view(stroke=None)
    png = vl_convert.vegalite_to_png(styled.configure_axis(gridColor="#e4e7eb").to_dict(), scale=1.25)
    (IMAGES / name).write_bytes(png)


def months(cards: dict[str, Card]) -> alt.TopLevelMixin:
    """Share of clients that add a service, month by month."""
    rows = [
        {"world": name, "month": f"{month.month_on:%Y-%m-%d}", "adding": month.adding}
        for name, card in cards.items()
        for month in card.months
    ]
    band = alt.Chart(alt.Data(values=[{"low": 0.025, "high": 0.045}])).mark_rect(color="#e4e7eb", opacity=0.6)
    line = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("month:T", title=None, axis=alt.Axis(format="%b %y", tickCount=4)),
            y=alt.Y("adding:Q", title="add a service", axis=alt.Axis(format="%", tickCount=4)),
            color=BY_WORLD.legend(None),
        )
    )
    panels = [
        (band.encode(y="low:Q", y2="high:Q") + line.transform_filter(f"datum.world == '{name}'")).properties(
            title=name, width=220, height=110
        )
        for name in cards
    ]
    return alt.concat(*panels, columns=3).resolve_scale(y="shared")


def segments(cards: dict[str, Card]) -> alt.TopLevelMixin:
    """Who adds services and who sees offers, by stage and size."""
    rows = [
        {"world": name, "segment": segment.name, "adding": segment.adding, "exposures": segment.exposures}
        for name, card in cards.items()
        if card.n_clients >= ENOUGH
        for segment in (*card.segments["stage"], *card.segments["size"])
    ]
    charts = []
    for order, heading in ((STAGES, "stage"), (SIZES, "size")):
        for field, title, style in (
            ("adding", "share that adds a service in a month", "%"),
            ("exposures", "offers seen in a month", ".1f"),
        ):
            wanted = ",".join(f"'{value}'" for value in order)
            charts.append(
                alt.Chart(alt.Data(values=rows))
                .mark_point(filled=True, size=60, opacity=0.85)
                .transform_filter(f"indexof([{wanted}], datum.segment) >= 0")
                .encode(
                    x=alt.X(f"{field}:Q", title=title, axis=alt.Axis(format=style, tickCount=5)),
                    y=alt.Y("segment:N", sort=order, title=heading),
                    color=BY_WORLD,
                )
                .properties(width=270, height=24 * len(order))
            )
    return alt.concat(*charts, columns=2)


def survival(name: str, quantity: str, values: np.ndarray) -> Iterator[dict[str, object]]:
    """Share of clients above each value, thinned to the width of a picture."""
    ordered = np.sort(values[values > 0])[::-1]
    ranks = np.unique(np.geomspace(1, len(ordered), 60).astype(int))
    for rank in ranks:
        share = float(rank / len(ordered))
        yield {"world": name, "quantity": quantity, "value": float(ordered[rank - 1]), "share": share}


def tails(lives: dict[str, Tables]) -> alt.TopLevelMixin:
    """How heavy the tails of spend and of SIM cards are."""
    rows: list[dict[str, object]] = []
    sims = pl.col("n_sims_employees") + pl.col("n_sims_field")
    for name, tables in lives.items():
        figures = monthly_figures(tables).group_by("client_id")
        means = figures.agg(spend=pl.col("spend_minor").mean() / 100, sims=sims.mean())
        rows += survival(name, "monthly spend, roubles", means["spend"].to_numpy())
        rows += survival(name, "SIM cards of people", means["sims"].to_numpy())
    panels = [
        alt.Chart(alt.Data(values=rows))
        .mark_line()
        .transform_filter(f"datum.quantity == '{quantity}'")
        .encode(
            x=alt.X(
                "value:Q",
                title=quantity,
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~s", tickCount=4, grid=False),
            ),
            y=alt.Y(
                "share:Q",
                title="share of clients with more",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~%", tickCount=4, grid=False),
            ),
            color=BY_WORLD,
        )
        .properties(width=290, height=190)
        for quantity in ("monthly spend, roubles", "SIM cards of people")
    ]
    return alt.concat(*panels)


def table(cards: dict[str, Card]) -> Iterator[str]:
    """The cards' main figures as a Markdown table."""
    yield f"| | {' | '.join(cards)} |"
    yield "|---|" + "---|" * len(cards)
    figures = {
        "clients": lambda card: f"{card.n_clients:,}",
        "clients adding a service in a month": lambda card: f"{card.adding:.1%}",
        "activations per impression": lambda card: f"{card.acceptance or 0:.1%}",
        "impressions to change what is held": lambda card: f"{held(card):.1%}",
        "offers seen per client and month": lambda card: f"{exposures(card):.2f}",
        "services held per client, ever": lambda card: f"{card.n_holdings / card.n_clients:.1f}",
        "tail index of spend": lambda card: tail(card.spend_tail),
        "tail index of SIM cards": lambda card: tail(card.seats_tail),
        "connected through the portal": lambda card: f"{card.channels.get('portal', 0):.0%}",
        "connected by a manager": lambda card: f"{card.channels.get('manager', 0):.0%}",
        "impressions lost": lambda card: f"{card.quality.lost:.1%}",
        "events late": lambda card: f"{card.quality.late:.1%}",
        "events twice": lambda card: f"{card.quality.duplicate:.1%}",
        "contracts ended, per client and month": lambda card: f"{card.changes.leaving:.2%}",
        "contracts begun again": lambda card: f"{card.changes.n_returned}",
        "offers new · withdrawn": lambda card: (
            f"{card.changes.n_offers_new} · {card.changes.n_offers_withdrawn}"
        ),
    }
    for title, figure in figures.items():
        yield f"| {title} | {' | '.join(figure(card) for card in cards.values())} |"


def tail(found: Tail) -> str:
    """An index with its error; a dash where there is too little to say."""
    return "–" if np.isnan(found.index) else f"{found.index:.2f} ± {found.standard_error:.2f}"


def held(card: Card) -> float:
    """Share of impressions that offer more seats, a renewal or a retention."""
    return sum(shown.share for shown in card.shown if shown.change not in {Change.NEW, Change.UPGRADE})


def exposures(card: Card) -> float:
    """Offers seen per client-month."""
    return sum(month.n_impressions for month in card.months) / sum(month.n_clients for month in card.months)


def main() -> None:
    """Live the five worlds and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=N_CLIENTS)
    n_clients = parser.parse_args().clients
    catalogue = read_catalogue(DEMO)
    cards: dict[str, Card] = {}
    lives: dict[str, Tables] = {}
    with threadpool_limits(1):
        for name in WORLDS:
            world = World.load(DEMO / "worlds" / f"{name}.toml")
            asked = {"n_clients": min(n_clients, world.n_clients)}
            life = world.model_copy(update=asked)
            lives[name] = record_world(life, catalogue, lambda _: None)
            cards[name] = make_card(lives[name], world.time_zone)
    save("worlds-months.png", months(cards))
    save("worlds-segments.png", segments(cards))
    save("worlds-tails.png", tails(lives))
    print("\n".join(table(cards)))


if __name__ == "__main__":
    main()

"""How plots look in notebooks: the colours of the reports, quiet axes, drawings that need no network."""

from __future__ import annotations

from typing import cast

import altair as alt

INK, SOFT, GRID, AXIS, ACCENT = "#1f2933", "#52606d", "#e9ecef", "#9aa5b1", "#1f5f8b"
# distinguishable with every common colour deficiency (Okabe & Ito), darkest first
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#555555", "#e69f00")
_FONT = "Helvetica, Arial, sans-serif"
_NAME = "offer_recsys"


def use_house_look(width: int = 520, height: int = 260) -> None:
    """Draw every chart from here on in the house's look, as an inline SVG.

    Args:
        width: Of a chart that says nothing else, pixels.
        height: The same.
    """
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
    config = {
        "font": _FONT,
        "background": "white",
        "padding": 8,
        "view": {
            "stroke": None,
            "continuousWidth": width,
            "continuousHeight": height,
            "discreteWidth": width,
        },
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "gridColor": GRID,
            "domainColor": AXIS,
            "tickColor": AXIS,
            "labelLimit": 260,
        },
        "legend": {**text, "titleFontWeight": "normal", "orient": "bottom", "symbolType": "circle"},
        "title": {"color": INK, "fontSize": 14, "anchor": "start", "subtitleColor": SOFT, "offset": 12},
        "text": {"color": INK, "fontSize": 12},
        "range": {"category": list(COLOURS)},
        "bar": {"color": ACCENT},
        "line": {"color": ACCENT, "strokeWidth": 2},
        "point": {"color": ACCENT, "filled": True, "size": 60},
        "rule": {"color": ACCENT},
    }
    theme = cast("alt.theme.ThemeConfig", {"config": config})
    alt.theme.register(_NAME, enable=True)(lambda: theme)
    alt.renderers.enable("svg")

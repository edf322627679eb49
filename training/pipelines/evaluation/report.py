"""The report of an evaluation: one self-contained page, plots as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from recsys.evaluation.report import Contrast, EvaluationResult
from training.pipelines.evaluation.figures import (
    N_SEGMENTS,
    figures_of,
    segment_figures,
    segment_models,
)
from training.pipelines.evaluation.verdict import SHOWN, ends, is_shown, p_words, signed
from training.pipelines.evaluation.words import (
    EVERYBODY_WORDS,
    LIST_WORDS,
    RANKING_WORDS,
    SHOWN_WORDS,
    TARGET_WORDS,
    Word,
    calibration_words,
    figure,
    interval,
    local,
    present,
)

_N_HELD = 6


@dataclass(frozen=True, slots=True)
class Block:
    """One table of figures, models by metrics.

    Attributes:
        title: Its heading.
        about: Over whom the figures are.
        words: The metrics, in order.
        models: Rows: those that have any of them.
        best: The row that its first figure puts first, of probabilities the log-loss; "" = one row only.
    """

    title: str
    about: str
    words: dict[str, Word]
    models: list[str]
    best: str


def render_report(result: EvaluationResult) -> str:
    """The page as HTML without scripts and without anything fetched from elsewhere."""
    environment = Environment(
        loader=PackageLoader("training.pipelines.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["local"] = lambda cut: local(cut, result.subject.time_zone)
    environment.filters["signed"] = signed
    environment.filters["ends"] = ends
    environment.filters["p_words"] = p_words
    return environment.get_template("report.html.j2").render(
        result=result,
        config=result.config,
        subject=result.subject,
        blocks=_blocks(result),
        contrasts=_contrasts(result),
        figures=figures_of(result),
        segments=segment_figures(result),
        segment_models=segment_models(result),
        n_segments=N_SEGMENTS,
        examples=_examples(result),
        figure=figure,
        interval=interval,
    )


def _blocks(result: EvaluationResult) -> list[Block]:
    n_observed = f"{result.n_observed:,}"
    pairs = "clients" if len(result.config.cuts) == 1 else "(client, cut) pairs"
    about_rows = f"Over the {result.n_rows:,} {pairs} that connected something new; k = {result.config.k}."
    everybody = (
        f"Over all {n_observed} {pairs} observed, whether they connected anything or not. Scores of a model"
        " without probabilities do not compare across clients, so it may do worse here than in its lists."
    )
    shown = "Over lists really shown after the cuts of which something was activated and something was not."
    blocks = [
        _block(result, "Ranking", about_rows, RANKING_WORDS),
        _block(result, "Everybody", everybody, EVERYBODY_WORDS),
        _block(result, "Lists", f"What the lists of all {n_observed} {pairs} are like.", LIST_WORDS),
        _block(result, "What was shown", shown, SHOWN_WORDS),
    ]
    blocks += [
        _block(
            result,
            f"Probabilities of {target}",
            f"{meaning}.",
            calibration_words(target),
            lowest=f"{target}_log_loss",
        )
        for target, meaning in TARGET_WORDS.items()
    ]
    return [block for block in blocks if block.models]


def _block(
    result: EvaluationResult, title: str, about: str, words: Mapping[str, Word], *, lowest: str = ""
) -> Block:
    """The table; its best row has the lowest of that figure, without one the highest of its first."""
    metrics = present(list(words), result.metrics)
    models = [name for name in result.ranking() if any(one in result.estimates[name] for one in metrics)]
    judged_by = lowest or next(iter(metrics), "")
    sign = -1 if lowest else 1
    rated = {
        name: sign * result.estimates[name][judged_by].value
        for name in models
        if judged_by in result.estimates[name]
    }
    best = max(rated, key=rated.__getitem__) if len(rated) > 1 else ""
    return Block(title, about, {name: words[name] for name in metrics}, models, best)


def _contrasts(result: EvaluationResult) -> list[tuple[str, list[tuple[Contrast, str]]]]:
    """Contrasts with their conclusions, one table for each metric."""
    names = {"ndcg": f"NDCG@{result.config.k}, client by client", SHOWN: "what was shown, list by list"}
    tables = [
        (name, [(one, _conclusion(one)) for one in result.contrasts if one.metric == metric])
        for metric, name in names.items()
    ]
    return [(name, rows) for name, rows in tables if rows]


def _conclusion(contrast: Contrast) -> str:
    if not is_shown(contrast):
        return "no difference shown"
    return "better" if contrast.difference.value > 0 else "worse"


def _examples(result: EvaluationResult) -> list[dict[str, object]]:
    """Clients with what they have, what they connected, and the lists of the models worth a look."""
    if "examples" not in result.tables:
        return []
    models = segment_models(result)
    found = []
    for (_, client_id), rows in result.tables["examples"].group_by(
        ["example", "client_id"], maintain_order=True
    ):
        has = rows.filter(pl.col("what") == "has")["title"].to_list()
        found.append(
            {
                "client_id": client_id,
                "has": has[:_N_HELD],
                "n_more": max(0, len(has) - _N_HELD),
                "connected": rows.filter(pl.col("what") == "connected")["title"].to_list(),
                "lists": [
                    (name, rows.filter(pl.col("model") == name).select("title", "is_relevant").rows())
                    for name in models
                ],
            }
        )
    return found

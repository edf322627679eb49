"""The report of an experiment: one self-contained page, plots as inline SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from recsys.experiments.measures import HORIZON_MONTHS
from recsys.experiments.results import Comparison, Interval, Results, Role
from recsys.experiments.wording import (
    cause_text,
    interval_text,
    percent_text,
    signed_percent_text,
    value_text,
)
from training.pipelines.evaluation.words import local
from training.pipelines.experiments.figures import segment_figures, time_figures, told_p
from training.pipelines.experiments.words import SAYS, count, word


@dataclass(frozen=True, slots=True)
class Subject:
    """Where the data come from.

    Attributes:
        title: The dataset, for people.
        time_zone: Days are days of this zone.
        currency: ISO code of amounts; XXX = there are none.
        digest: Digest of the data.
    """

    title: str
    time_zone: str
    currency: str
    digest: str


def render_report(results: Results, subject: Subject, language: str) -> str:
    """The page as HTML without scripts and without anything fetched from elsewhere."""
    environment = Environment(
        loader=PackageLoader("training.pipelines.experiments", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        results=results,
        subject=subject,
        language=language,
        word=lambda key: word(key, language),
        told=lambda text: text.told(language),
        says=lambda verdict: SAYS[verdict.says].told(language),
        local=lambda at: local(at, subject.time_zone),
        value=lambda line, number: value_text(line, number, language),
        absolute=lambda line: absolute_cell(line, language),
        relative=lambda interval: relative_cell(interval, language),
        p=lambda number: told_p(number, language),
        percent=lambda share: percent_text(share, language),
        count=lambda n: count(n, language),
        amount=lambda interval: amount_cell(interval, language),
        cause=lambda code: cause_text(code).told(language),
        expected=lambda found: amount_cell(Interval(found.value, found.low, found.high), language),
        horizon=HORIZON_MONTHS,
        figures=time_figures(results, language),
        segments=segment_figures(results, language),
        is_primary=lambda line: line.role is Role.PRIMARY,
    )


def absolute_cell(line: Comparison, language: str) -> tuple[str, str]:
    """The absolute difference and its interval, or why there is none."""
    found = line.absolute
    value = value_text(line, found.value, language, is_signed=True)
    if found.cause is not None:
        return value, cause_text(found.cause).told(language)
    ends = (value_text(line, end, language, is_signed=True) for end in (found.low, found.high))
    return value, " … ".join(ends)


def relative_cell(found: Interval, language: str) -> tuple[str, str]:
    """The relative difference and its interval, or why there is none."""
    value = signed_percent_text(found.value, language)
    if found.cause is not None:
        return value, cause_text(found.cause).told(language)
    return value, interval_text(found, language)


def amount_cell(found: Interval, language: str) -> tuple[str, str]:
    """An amount of money in whole units and its interval."""
    value, low, high = (_amount(part, language) for part in _parts(found))
    return value, "" if found.cause is not None else f"{low} … {high}"


def _amount(minor: float, language: str) -> str:
    return count(round(minor / 100), language) if math.isfinite(minor) else "–"


def _parts(found: Interval) -> tuple[float, float, float]:
    return found.value, found.low, found.high

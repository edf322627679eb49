"""The report of an off-policy evaluation: one self-contained page, plots as inline SVG."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined

from recsys.domain import Language
from training.pipelines.evaluation.words import local
from training.pipelines.offpolicy.figures import figures_of
from training.pipelines.offpolicy.result import OffPolicyResult
from training.pipelines.offpolicy.words import (
    WORDS,
    amount,
    causes_told,
    ends,
    measure_title,
    number,
    verdict_lines,
)


def render_report(result: OffPolicyResult, language: Language) -> str:
    """The page as HTML without scripts and without anything fetched from elsewhere."""
    environment = Environment(
        loader=PackageLoader("training.pipelines.offpolicy", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    zone = result.subject.time_zone
    return environment.get_template("report.html.j2").render(
        result=result,
        subject=result.subject,
        words=WORDS[language],
        language=language.value,
        verdict=verdict_lines(result, language),
        causes={name: causes_told(found.gate, language) for name, found in result.beliefs.items()},
        figures=figures_of(result, language),
        titles={name: measure_title(result, name, language) for name in result.measures},
        policies=result.tables["policies"].to_dicts(),
        period=[
            local(datetime.fromisoformat(at), zone)
            for at in (result.subject.first_at, result.subject.last_at)
        ],
        amount=partial(amount, language=language),
        ends=partial(ends, language=language),
        number=partial(number, language=language),
    )

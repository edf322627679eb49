"""Off-policy evaluations on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from recsys.domain import Language
from recsys.evaluation.intervals import Estimate
from training.pipelines.offpolicy.expected import expected_block
from training.pipelines.offpolicy.result import OffPolicyResult
from training.pipelines.offpolicy.words import WORDS, amount, ends, measure_title, number, verdict_lines


def render_result(result: OffPolicyResult, language: Language) -> Group:
    """The answer, the gate and the figures, readable in 80 columns."""
    words, subject = WORDS[language], result.subject
    n_decisions, n_clients = (number(n, ",", language) for n in (result.n_decisions, result.n_clients))
    about = f"{words['decisions']}: {n_decisions}, {words['clients'].lower()}: {n_clients}"
    lines = [subject.title, about]
    left = "; ".join(
        f"{words[cause]}: {number(n, ',', language)}" for cause, n in result.left_out.items() if n
    )
    if left:
        lines.append(f"{words['left_out']}: {left}")
    parts: list[RenderableType] = [*lines, "", _gates(result, language), ""]
    for belief, cause in result.missing.items():
        parts += [f"{words[belief].split(':')[0]}: {words[cause]}.", ""]
    if result.says:
        parts += [_figures(result, language), ""]
    parts += verdict_lines(result, language)
    if block := expected_block(result):
        parts += ["", words["expected"], block.rstrip()]
    return Group(*parts)


def _gates(result: OffPolicyResult, language: Language) -> Table:
    """A column for each belief: the weights of its worst slot."""
    words, beliefs = WORDS[language], result.beliefs
    table = _table(words["gate"], [words[belief].split(":")[0] for belief in beliefs])
    worst = [found.worst for found in beliefs.values()]
    cells = {
        "": [words["passes" if found.gate.says else "fails"] for found in beliefs.values()],
        words["worst_slot"]: [str(found.worst_slot) for found in beliefs.values()],
        words["ess"]: [number(each.ess, ",.0f", language) for each in worst],
        words["ess_clients"]: [number(each.ess_clients, ",.0f", language) for each in worst],
        words["support"]: [number(1 - each.unsupported, ".1%", language) for each in worst],
        words["mean_weight"]: [
            f"{number(each.mean_weight, '.2f', language)} ± {number(each.mean_weight_error, '.2f', language)}"
            for each in worst
        ],
    }
    for name, row in cells.items():
        table.add_row(name, *row)
    return table


def _figures(result: OffPolicyResult, language: Language) -> Table:
    """A column for each measure."""
    words, measures = WORDS[language], result.measures
    table = _table(words["what"], [measure_title(result, measure, language) for measure in measures])
    rows = (
        ("live", [found.live for found in measures.values()]),
        ("new", [found.new for found in measures.values()]),
        ("against", [found.difference for found in measures.values()]),
    )
    for name, estimates in rows:
        cells = [_cell(each, measure, language) for each, measure in zip(estimates, measures, strict=True)]
        table.add_row(words[name], *cells)
    return table


def _table(first: str, columns: list[str]) -> Table:
    """Figures stay whole; it is their names that may wrap."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _cell(estimate: Estimate | None, measure: str, language: Language) -> str:
    if estimate is None:
        return "–"
    return f"{amount(estimate.value, measure, language)}\n[dim]{ends(estimate, measure, language)}[/dim]"

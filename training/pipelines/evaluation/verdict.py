"""What an evaluation says, in sentences that claim no more than it can."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from recsys.domain import Target
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.report import SIMPLE_MODELS, Contrast

_LEVEL = 0.05
SHOWN = "shown_order"
_NOTHING = "no difference is shown"


def verdict(
    estimates: Mapping[str, Mapping[str, Estimate]],
    contrasts: Sequence[Contrast],
    targets: Mapping[str, Sequence[Target]],
    k: int,
) -> str:
    """Whether anything ranks better than the best simple model, by how much, and how sure that is.

    Args:
        estimates: Estimate by model and metric.
        contrasts: The other models against the baseline, the best first.
        targets: What models give probabilities of; one of acceptance is judged on what was shown too.
        k: Length of the lists.

    Returns:
        One line; two where a model estimates acceptance: on what clients were shown, and on what they
        connected.
    """
    connected = _on_connected(estimates, headline([one for one in contrasts if one.metric == "ndcg"]), k)
    accepting = [
        one for one in contrasts if one.metric == SHOWN and Target.ACCEPTANCE in targets.get(one.model, ())
    ]
    if not accepting:
        return connected[0].upper() + connected[1:] if connected.startswith(_NOTHING) else connected
    shown = _sentence(accepting[0], "share of pairs in right order")
    return f"Of what clients were shown: {shown}\nOf all that they connected: {connected}"


def headline(contrasts: Sequence[Contrast]) -> Contrast | None:
    """The contrast that a verdict is about, its model being the one in question.

    Args:
        contrasts: The other models against the baseline by one metric, the best first.

    Returns:
        The best model that is not simple against the best simple one; where there are only models of one of
        these kinds, the best against the next; None without any contrast.
    """
    if not contrasts:
        return None
    if contrasts[0].baseline not in SIMPLE_MODELS:
        return _turned(contrasts[0])
    return next((one for one in contrasts if one.model not in SIMPLE_MODELS), _turned(contrasts[0]))


def _on_connected(estimates: Mapping[str, Mapping[str, Estimate]], contrast: Contrast | None, k: int) -> str:
    if contrast is None:
        [(name, found)] = estimates.items()
        return f"{name}: NDCG@{k} {with_interval(found['ndcg'])}; no other model was evaluated."
    return _sentence(contrast, f"NDCG@{k}")


def _sentence(contrast: Contrast, what: str) -> str:
    """Who ranks better, or that nothing is shown; then the figures."""
    model, baseline = contrast.model, contrast.baseline
    is_simple = model in SIMPLE_MODELS, baseline in SIMPLE_MODELS
    role = ", the best simple model" if is_simple == (False, True) else ", the next best"
    if is_simple == (False, False) and contrast.value < contrast.baseline_value:
        role = ", the best"
    found = contrast.difference
    figures = (
        f"{what} {contrast.value:.3f} against {contrast.baseline_value:.3f}, {signed(found.value)}"
        f" (95 % interval {signed(found.low)} to {signed(found.high)})"
    )
    end = "; only simple models were evaluated." if all(is_simple) else "."
    if not is_shown(contrast):
        return f"{_NOTHING} between {model} and {baseline}{role}: {figures}{end}"
    word = "better" if found.value > 0 else "worse"
    return f"{model} ranks {word} than {baseline}{role}: {figures}{end}"


def with_interval(estimate: Estimate) -> str:
    """The figure with its interval, for running text."""
    return f"{estimate.value:.3f} (95 % interval {estimate.low:.3f} to {estimate.high:.3f})"


def signed(value: float) -> str:
    """A difference in three decimals, with its sign; a dash where too few units leave it unbounded."""
    if not math.isfinite(value):
        return "–"
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def p_words(p: float) -> str:
    """A p-value as people write it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def is_shown(contrast: Contrast) -> bool:
    """Whether the test shows a difference."""
    return contrast.adjusted_p <= _LEVEL


def difference_words(contrast: Contrast) -> str:
    """The difference with its interval and adjusted p."""
    found = contrast.difference
    interval = f"95 % interval {signed(found.low)} to {signed(found.high)}"
    return f"{signed(found.value)} ({interval}, adjusted {p_words(contrast.adjusted_p)})"


def _turned(contrast: Contrast) -> Contrast:
    """The same from the other side."""
    found = contrast.difference
    return Contrast(
        model=contrast.baseline,
        baseline=contrast.model,
        metric=contrast.metric,
        value=contrast.baseline_value,
        baseline_value=contrast.value,
        difference=Estimate(-found.value, -found.high, -found.low),
        bootstrap=Estimate(-found.value, -contrast.bootstrap.high, -contrast.bootstrap.low),
        p=contrast.p,
        adjusted_p=contrast.adjusted_p,
        detectable=contrast.detectable,
        n_clients=contrast.n_clients,
        dimension=contrast.dimension,
        segment=contrast.segment,
    )

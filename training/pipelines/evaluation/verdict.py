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
    on_shown = _on_shown(contrasts, targets)
    if on_shown is None:
        return connected[0].upper() + connected[1:] if connected.startswith(_NOTHING) else connected
    shown = _sentence(on_shown, "share of pairs in right order")
    return f"Of what clients were shown: {shown}\nOf all that they connected: {connected}"


def subjects(contrasts: Sequence[Contrast], targets: Mapping[str, Sequence[Target]]) -> list[str]:
    """The models that the verdict names, those of what clients connected first.

    Args:
        contrasts: The other models against the baseline, the best first.
        targets: What models give probabilities of.
    """
    told = [headline([one for one in contrasts if one.metric == "ndcg"]), _on_shown(contrasts, targets)]
    return list(dict.fromkeys(name for one in told if one for name in (one.model, one.baseline)))


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


def _on_shown(contrasts: Sequence[Contrast], targets: Mapping[str, Sequence[Target]]) -> Contrast | None:
    """Of the models that estimate acceptance, the one that puts best in order what was shown."""
    accepting = (
        one for one in contrasts if one.metric == SHOWN and Target.ACCEPTANCE in targets.get(one.model, ())
    )
    return next(accepting, None)


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
    against = f"{contrast.value:.3f} against {contrast.baseline_value:.3f}"
    figures = f"{what} {against}, {difference_words(contrast)}"
    end = "; only simple models were evaluated." if all(is_simple) else "."
    if not is_shown(contrast):
        if is_simple == (False, True):
            end = "; until one is shown, the simple model should ship."
        figures = f"{figures}; {detectable_words(contrast)}"
        return f"{_NOTHING} between {model} and {baseline}{role}: {figures}{end}"
    word = "better" if contrast.difference.value > 0 else "worse"
    return f"{model} ranks {word} than {baseline}{role}: {figures}{end}"


def with_interval(estimate: Estimate) -> str:
    """The figure with its interval, for running text."""
    return f"{estimate.value:.3f} (95 % interval {estimate.low:.3f} to {estimate.high:.3f})"


def signed(value: float) -> str:
    """A difference in three decimals, with its sign; a dash where too few units leave it unbounded."""
    if not math.isfinite(value):
        return "–"
    return f"{value + 0.0:+.3f}".replace("-", "\N{MINUS SIGN}")


def ends(found: Estimate) -> str:
    """The interval of a difference; a dash where too few units leave it unbounded."""
    return f"{signed(found.low)} to {signed(found.high)}" if math.isfinite(found.low) else "–"


def p_words(p: float) -> str:
    """A p-value as people write it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def is_shown(contrast: Contrast) -> bool:
    """Whether the test shows a difference."""
    return contrast.adjusted_p <= _LEVEL


def difference_words(contrast: Contrast) -> str:
    """The difference with its interval and adjusted p."""
    found = contrast.difference
    has_interval = math.isfinite(found.low)
    interval = f"95 % interval {ends(found)}" if has_interval else "too few clients for an interval"
    return f"{signed(found.value)} ({interval}, adjusted {p_words(contrast.adjusted_p)})"


def detectable_words(contrast: Contrast) -> str:
    """How large a difference the test of these two finds, before it is adjusted for the others."""
    if not math.isfinite(contrast.detectable):
        return "a single client cannot show one"
    if contrast.detectable == 0:
        return "they rank every client alike"
    return f"a test of these two alone finds a true one of {contrast.detectable:.3f} in four cases of five"


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

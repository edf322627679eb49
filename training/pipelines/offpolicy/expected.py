"""What an experiment's document says of an arm, from the log: ready to be copied."""

from __future__ import annotations

from hashlib import sha256

from training.pipelines.offpolicy.result import MARGIN, OffPolicyResult

_DIGITS = 16


def expected_block(result: OffPolicyResult) -> str:
    """The ``expected`` of an arm that tries the new policy, as YAML in minor units.

    Its ``source`` is the beginning of the SHA-256 of the run's ``metrics.json``.

    Returns:
        "" where nothing would be comparable: the log says nothing, offers have no margin, or only the first
        slots of lists counted, while an experiment counts all.
    """
    new = result.main.new
    if new is None or result.measure != MARGIN or result.subject.n_slots is not None:
        return ""
    source = sha256(result.figures()).hexdigest()[:_DIGITS]
    return (
        f"expected:\n  value: {new.value:.2f}\n  low: {new.low:.2f}\n  high: {new.high:.2f}\n"
        f'  source: "{source}"\n  days: {result.subject.days}\n  months: {result.subject.months}\n'
    )

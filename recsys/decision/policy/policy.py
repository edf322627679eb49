"""A whole policy: what every document says, and its version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from recsys.decision.policy.arbitration import ArbitrationSpec, FactorSwitches
from recsys.decision.policy.contact import ContactSpec
from recsys.decision.policy.engagement import EngagementSpec
from recsys.decision.policy.vip import VipSpec
from recsys.models.chance import MIN_COHORT
from recsys.placement import Placement

DAY_SECONDS = 86_400
_VERSION_LENGTH = 16

BY_PROBABILITY = ArbitrationSpec(factors=FactorSwitches(value=False))


def version_of(documents: Mapping[str, str]) -> str:
    """The version of a policy: the first 16 hexadecimal digits of SHA-256 over its documents.

    Args:
        documents: Name of a document → its content.

    Example:
        >>> version_of({"b": "1", "a": "2"}) == version_of({"a": "2", "b": "1"})
        True
    """
    digest = hashlib.sha256()
    for name, text in sorted(documents.items()):
        for part in (name.encode(), text.encode()):
            digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()[:_VERSION_LENGTH]


@dataclass(frozen=True, slots=True)
class Policy:
    """The parameters of every decision; what is left out reproduces a list by probability alone.

    Attributes:
        engagement: Who may be offered what.
        contact: How often, and about what, a client may be spoken to.
        arbitration: Which candidate comes first.
        placements: The places that show lists.
        vip: Who is a VIP; None = only the operator's own word makes one.
        window_seconds: Length of the window within which draws are not repeated, ≥1.
        min_cohort: Smallest number of clients that a reason may speak of.
        max_reasons: Most reasons shown with one offer.
        version: See `version_of`.
    """

    engagement: EngagementSpec = field(default_factory=EngagementSpec)
    contact: ContactSpec = field(default_factory=ContactSpec)
    arbitration: ArbitrationSpec = BY_PROBABILITY
    placements: tuple[Placement, ...] = ()
    vip: VipSpec | None = None
    window_seconds: int = DAY_SECONDS
    min_cohort: int = MIN_COHORT
    max_reasons: int = 3
    version: str = version_of({})

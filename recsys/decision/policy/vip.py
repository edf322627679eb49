"""Shape of ``vip.yaml``: who is a VIP."""

from __future__ import annotations

from pydantic import Field

from recsys.config import RunConfig


class VipSpec(RunConfig):
    """A client qualifies by spend and size, and is looked at again after a time.

    Attributes:
        min_mean_spend_minor: Least mean spend a month.
        months: Number of latest months over which the mean is taken, all of which must be known, 1–16.
        max_numbers: Most SIMs; None = any number.
        review_months: Months after which the status is reviewed.
    """

    min_mean_spend_minor: int = Field(ge=0)
    months: int = Field(default=3, ge=1, le=16)
    max_numbers: int | None = Field(default=None, ge=1)
    review_months: int = Field(default=12, ge=1, le=60)

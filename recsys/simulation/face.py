"""What the card of a world must show, so that nobody takes a strange world for an ordinary one."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from recsys.config import RunConfig


def _is_ordered(band: tuple[float, float]) -> tuple[float, float]:
    if band[0] > band[1]:
        raise ValueError("write a band as [least, most]")
    return band


Band = Annotated[
    tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]],
    AfterValidator(_is_ordered),
]


class Face(RunConfig):
    """Bands for the figures of a world's card; shares, 0–1.

    The defaults are those of the field: of a hundred impressions one to four are accepted, about 3.5 % of
    business clients add a service in a month, and popularity gives a good half of what could be had.

    Attributes:
        acceptance: Share of impressions that lead to an activation within 30 days.
        adding: Share of client-months in which a service is added.
        popularity: NDCG@10 of popularity as a share of the oracle's.
        best_model: NDCG@10 of the best single model as a share of the oracle's.
        reason: Why a band is not the usual one; empty where all are.
    """

    acceptance: Band = (0.01, 0.04)
    adding: Band = (0.025, 0.045)
    popularity: Band = (0.50, 0.65)
    best_model: Band = (0.0, 0.85)
    reason: str = ""

    @model_validator(mode="after")
    def _is_reasoned(self) -> Self:
        fields = type(self).model_fields
        changed = [
            name
            for name, field in fields.items()
            if name != "reason" and getattr(self, name) != field.default
        ]
        if changed and not self.reason.strip():
            raise ValueError(f"{', '.join(changed)}: not the usual band; say why in reason")
        return self

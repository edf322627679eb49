"""Who is held out: a call because of what the models say would spoil what the hold-out measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from pydantic import ValidationError

from recsys.config import describe
from recsys.data.dataset import Dataset
from recsys.domain import ClientState
from recsys.errors import DataError
from recsys.experiments.assignment import is_held_out, unit_of
from recsys.experiments.experiment import HOLDOUT_ID, Holdout
from recsys.experiments.holdout import HELD_OUT


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The hold-out in force at a moment; as in a server, whoever was seen under it keeps its side.

    Attributes:
        holdout: What was ordered last; None = nothing, or a share of 0.
        of_client: Side of each client that was seen under it.
        of_unit: Side of each unit that was seen under it: where it stood first.
    """

    holdout: Holdout | None
    of_client: Mapping[str, str]
    of_unit: Mapping[str, str]

    def has(self, state: ClientState) -> bool:
        """Whether a client sees business as usual."""
        if self.holdout is None:
            return False
        group = None if state.profile is None else state.profile.account_group_id
        unit_id = unit_of(state.client_id, group, self.holdout.unit)
        arm = self.of_client.get(state.client_id, self.of_unit.get(unit_id))
        return is_held_out(self.holdout, unit_id) if arm is None else arm == HELD_OUT


def held_out_at(dataset: Dataset, as_of: datetime) -> HeldOut:
    """The hold-out as it was known at a moment; data without experiments have none.

    Raises:
        DataError: What was ordered of it cannot be read.
    """
    orders, assignments = dataset.tables.get("experiments"), dataset.tables.get("assignments")
    is_its = (pl.col("experiment_id") == HOLDOUT_ID) & (pl.col("recorded_at") <= as_of)
    said = [] if orders is None else orders.filter(is_its).sort("number")["document"].to_list()
    if not said:
        return HeldOut(None, {}, {})
    try:
        holdout = Holdout.model_validate_json(said[-1])
    except ValidationError as error:
        raise DataError(f"the document of experiment {HOLDOUT_ID!r}: {describe(error)}") from error
    if not holdout.share:
        return HeldOut(None, {}, {})
    if assignments is None:
        return HeldOut(holdout, {}, {})
    latest_first = assignments.filter(is_its).sort("assigned_at", descending=True)
    of_client = dict(latest_first.select("client_id", "arm").iter_rows())
    return HeldOut(holdout, of_client, dict(latest_first.select("unit_id", "arm").iter_rows()))

"""The hold-out as an experiment: everybody else against those who see business as usual."""

from __future__ import annotations

from datetime import datetime

from recsys.errors import DataError
from recsys.experiments.experiment import HOLDOUT_ID, Arm, Experiment, Holdout, Measure, Metric, Status
from recsys.experiments.life import Standing

HELD_OUT, TREATED = "held_out", "treated"


def standing_of_holdout(holdout: Holdout, started_at: datetime) -> Standing:
    """What the analysis reads of the hold-out.

    Args:
        holdout: The one in force.
        started_at: Since when it has been as it is.

    Raises:
        DataError: Nobody is held out.

    Example:
        >>> from datetime import UTC
        >>> standing = standing_of_holdout(Holdout(share=0.05), datetime(2026, 3, 1, tzinfo=UTC))
        >>> [(arm.name, arm.weight) for arm in standing.experiment.arms]
        [('held_out', 0.05), ('treated', 0.95)]
    """
    if not holdout.share:
        raise DataError("there is no hold-out: its share is 0")
    experiment = Experiment(
        experiment_id=HOLDOUT_ID,
        title="Recommendations against business as usual",
        hypothesis="Personal recommendations make clients connect more",
        owner="holdout",
        unit=holdout.unit,
        salt=holdout.salt,
        arms=(Arm(name=HELD_OUT, weight=holdout.share), Arm(name=TREATED, weight=1 - holdout.share)),
        primary=Metric(name="activations", measure=Measure.ACTIVATIONS),
        minimum_effect=0.05,
    )
    return Standing(experiment=experiment, status=Status.RUNNING, started_at=started_at, salt=holdout.salt)

"""The life of an experiment: what may be done when, and what is said where it may not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from recsys.errors import ConflictError, InvalidRequestError
from recsys.experiments.experiment import Experiment, Holdout, Status
from recsys.experiments.life import Standing, decide, draft, edit, ramp, start, stop

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def experiment(experiment_id: str = "short-list", **keys: object) -> Experiment:
    document: dict[str, object] = {
        "experiment_id": experiment_id,
        "title": "A shorter list",
        "hypothesis": "Three offers are read, ten are not",
        "owner": "anna",
        "arms": [{"name": "control", "weight": 0.5}, {"name": "short", "weight": 0.5}],
        "primary": {"name": "taken", "measure": "activations"},
        "minimum_effect": 0.1,
    }
    return Experiment.model_validate({**document, **keys})


def running(experiment_id: str = "short-list", **keys: object) -> Standing:
    return start(draft(experiment(experiment_id, **keys)), NOW)


def stopped() -> Standing:
    return stop(running(), NOW, "enough was seen")


def decided() -> Standing:
    return decide(stopped(), NOW, "short", "more was taken")


def test_a_whole_life() -> None:
    begun = start(draft(experiment(coverage=0.2)), NOW)
    assert (begun.status, begun.coverage, begun.started_at) == (Status.RUNNING, 0.2, NOW)
    wider = ramp(begun, 0.7)
    assert (wider.coverage, wider.experiment.coverage) == (0.7, 0.2)
    ended = stop(wider, NOW + timedelta(days=60), " complaints ")
    assert (ended.status, ended.reason, ended.coverage) == (Status.STOPPED, "complaints", 0.7)
    judged = decide(ended, NOW + timedelta(days=90), None, "no difference")
    assert (judged.status, judged.winner, judged.started_at) == (Status.DECIDED, None, NOW)
    assert Standing.model_validate_json(judged.model_dump_json()) == judged


def test_a_draft_can_be_changed_in_everything_but_its_id() -> None:
    changed = edit(draft(experiment()), experiment(coverage=0.3, title="Another"))
    assert (changed.coverage, changed.experiment.title) == (0.3, "Another")
    with pytest.raises(ConflictError, match="create it as an experiment of its own"):
        edit(draft(experiment()), experiment("another"))


DEEDS: dict[str, Callable[[Standing], Standing]] = {
    "edit": lambda standing: edit(standing, standing.experiment),
    "start": lambda standing: start(standing, NOW),
    "ramp": lambda standing: ramp(standing, 1.0),
    "stop": lambda standing: stop(standing, NOW, "why"),
    "decide": lambda standing: decide(standing, NOW, None, "why"),
}


@pytest.mark.parametrize(
    ("made", "deed", "cure"),
    [
        (running, "edit", "is running and cannot be changed; it can be ramped up and stopped"),
        (running, "start", "is running and cannot be started"),
        (running, "decide", "is running and cannot be decided"),
        (lambda: draft(experiment()), "ramp", "is draft and cannot be ramped up; start it first"),
        (lambda: draft(experiment()), "stop", "is draft and cannot be stopped; start it first"),
        (lambda: draft(experiment()), "decide", "is draft and cannot be decided; start it first"),
        (stopped, "edit", "is stopped and cannot be changed; it can only be decided"),
        (stopped, "start", "create another one under a new id to run it again"),
        (stopped, "ramp", "is stopped and cannot be ramped up"),
        (stopped, "stop", "is stopped and cannot be stopped"),
        (decided, "edit", "nothing more can be done with it"),
        (decided, "start", "create another one under a new id to run it again"),
        (decided, "decide", "is decided and cannot be decided"),
    ],
)
def test_what_comes_too_early_or_too_late_is_refused_with_the_cure(
    made: Callable[[], Standing], deed: str, cure: str
) -> None:
    with pytest.raises(ConflictError, match=cure):
        DEEDS[deed](made())


@pytest.mark.parametrize("coverage", [0.5, 0.2])
def test_coverage_only_grows(coverage: float) -> None:
    with pytest.raises(ConflictError, match=r"is 0\.5 and can only grow"):
        ramp(running(coverage=0.5), coverage)


@pytest.mark.parametrize("coverage", [0.0, -1.0, 1.1, float("nan"), float("inf")])
def test_coverage_is_a_share(coverage: float) -> None:
    with pytest.raises(InvalidRequestError, match="coverage: a share above 0 to 1 is needed"):
        ramp(running(coverage=0.5), coverage)


def test_a_reason_is_needed_to_stop_and_to_decide() -> None:
    with pytest.raises(InvalidRequestError, match="reason: is empty"):
        stop(running(), NOW, "  ")
    with pytest.raises(InvalidRequestError, match="reason: is empty"):
        decide(stopped(), NOW, None, "")


def test_only_an_arm_can_win() -> None:
    with pytest.raises(InvalidRequestError, match="there is no arm 'long'; name one of control, short"):
        decide(stopped(), NOW, "long", "why")


def test_exclusive_parts_of_a_layer_do_not_overlap() -> None:
    other = running("faq", layer="lists", layer_range=(0.0, 0.6))
    with pytest.raises(ConflictError) as found:
        start(draft(experiment(layer="lists", layer_range=(0.5, 1.0))), NOW, running=[other])
    assert str(found.value) == (
        "experiments 'short-list' and 'faq' overlap in layer 'lists' from 0.5 to 0.6;"
        " write another layer_range, or stop 'faq'"
    )
    assert start(draft(experiment(layer="lists", layer_range=(0.6, 1.0))), NOW, running=[other])
    assert start(draft(experiment(layer="other")), NOW, running=[other])
    assert start(draft(experiment()), NOW, running=[other])


def test_what_was_stopped_leaves_its_layer() -> None:
    other = stop(running("faq", layer="lists"), NOW, "done")
    assert start(draft(experiment(layer="lists")), NOW, running=[other]).status is Status.RUNNING


def test_a_layer_is_divided_by_one_unit() -> None:
    other = running("faq", layer="lists", layer_range=(0.0, 0.5), unit="client")
    with pytest.raises(ConflictError, match="one client could be in both; write unit: client"):
        start(draft(experiment(layer="lists", layer_range=(0.5, 1.0))), NOW, running=[other])


def test_a_salt_is_used_once_at_a_time() -> None:
    with pytest.raises(ConflictError, match="has the salt 'faq' of experiment 'faq'"):
        start(draft(experiment(salt="faq")), NOW, running=[running("faq")])
    with pytest.raises(ConflictError, match="has the salt 's' of the hold-out"):
        start(draft(experiment(salt="s")), NOW, holdout=Holdout(share=0.1, salt="s"))
    assert start(draft(experiment(salt="s")), NOW, holdout=Holdout(share=0, salt="s"))


def test_a_balanced_experiment_begins_with_a_salt_that_was_chosen() -> None:
    balanced = draft(experiment(is_balanced=True))
    with pytest.raises(ConflictError, match="is balanced, and no salt was chosen"):
        start(balanced, NOW)
    with pytest.raises(ConflictError, match="the salt 'x' is none of the admissible ones"):
        start(balanced, NOW, salt="x", admissible_salts=["a", "b"])
    begun = start(balanced, NOW, salt="a", admissible_salts=["a", "b"])
    assert (begun.seed, begun.admissible_salts) == ("a", ("a", "b"))


def test_a_fixed_experiment_has_a_planned_end() -> None:
    with pytest.raises(ConflictError, match="is judged once, and no end is planned"):
        start(draft(experiment(method="fixed")), NOW)
    assert start(draft(experiment(method="fixed", planned_units=400)), NOW)


def test_an_end_before_the_first_window_is_closed_is_refused() -> None:
    too_early = experiment(planned_end_at=NOW + timedelta(days=30), window_days=30)
    with pytest.raises(ConflictError, match="before the first window of 30 days is closed"):
        start(draft(too_early), NOW)
    assert start(draft(experiment(planned_end_at=NOW + timedelta(days=60))), NOW)


def test_the_seed_stands_from_the_start() -> None:
    assert running().salt == "short-list"
    assert running(salt="other").seed == "other"

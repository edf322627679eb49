"""Which experiments cannot have the same clients, and what is said of it before a start."""

from __future__ import annotations

from typing import Any

import pytest

from recsys.decision.policy.wording import Wording
from recsys.experiments.experiment import Experiment
from recsys.experiments.life import Standing
from serving.services.parts import Parts, clashes, parts_of, touched_by

TITLE = {"ru": "Почта", "en": "Mail"}


def experiment(experiment_id: str, changed: dict[str, Any], **more: Any) -> Experiment:
    """The present state of things against one change."""
    arms = [{"name": "control", "weight": 0.5}, {"name": "new", "weight": 0.5, **changed}]
    primary = {"name": "taken", "measure": "activations"}
    texts = {"title": "t", "hypothesis": "h", "owner": "o", "minimum_effect": 0.1, "primary": primary}
    return Experiment.model_validate({"experiment_id": experiment_id, "arms": arms, **texts, **more})


def told(changed: dict[str, Any], other: dict[str, Any], layers: tuple[str | None, str | None]) -> str:
    """What is said when one is to start while the other runs."""
    new = experiment("new", changed, layer=layers[0])
    running = Standing(experiment=experiment("old", other, layer=layers[1]))
    return "\n".join(clashes(new, [running]))


POLICY, BUNDLE = {"policy_version": "ab12"}, {"bundle_version": "ease"}
MAIL, DISK = {"texts": {"mail": TITLE}}, {"texts": {"disk": TITLE}}


@pytest.mark.parametrize(
    ("changed", "other", "layers", "what"),
    [
        (POLICY, {"policy_version": "cd34"}, (None, None), "the policy"),
        (BUNDLE, BUNDLE, (None, None), "the models"),
        (POLICY | BUNDLE, BUNDLE | POLICY | MAIL, (None, None), "the policy and the models"),
        (MAIL, {"texts": {"disk": TITLE, "mail": TITLE}}, (None, None), "the title of 'mail'"),
        (POLICY, MAIL, ("shop", "shop"), "layer 'shop'"),
    ],
)
def test_what_two_experiments_both_need_is_said(
    changed: dict[str, Any], other: dict[str, Any], layers: tuple[str | None, str | None], what: str
) -> None:
    assert f"experiment 'old' runs already and takes {what} too" in told(changed, other, layers)


@pytest.mark.parametrize(
    ("changed", "other", "layers"),
    [
        (POLICY, BUNDLE, (None, None)),
        (MAIL, DISK, (None, None)),
        (POLICY, MAIL, ("shop", "portal")),
        (POLICY, {}, (None, None)),
    ],
)
def test_experiments_that_need_different_things_go_together(
    changed: dict[str, Any], other: dict[str, Any], layers: tuple[str | None, str | None]
) -> None:
    assert told(changed, other, layers) == ""


def test_an_experiment_is_not_in_its_own_way() -> None:
    """It is asked again when it is edited or ramped up."""
    one = experiment("one", POLICY)
    assert clashes(one, [Standing(experiment=one)]) == ()


def test_the_parts_of_overlapping_arms_add_up() -> None:
    policy, titled = (experiment("e", changed).arms[1] for changed in (POLICY, MAIL | BUNDLE))
    both = parts_of(policy).with_parts(parts_of(titled))
    assert both == Parts("ab12", "ease", (("mail", Wording(ru="Почта", en="Mail")),))
    assert hash(both) == hash(parts_of(titled).with_parts(parts_of(policy)))
    assert set(touched_by(experiment("e", MAIL | BUNDLE))) == {"bundle", "title mail"}

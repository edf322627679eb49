"""Capacities on which arms and experiments draw together are told before the start."""

from __future__ import annotations

import pytest

from recsys.decision.policy.engagement import VolumeCap
from recsys.domain import Language, Offer, OfferId
from recsys.experiments.capacity import (
    Capacity,
    CapacityKind,
    capacities_of_caps,
    capacities_of_people,
    manager_of,
    offers_changed,
    shared_capacities,
)
from recsys.experiments.experiment import Experiment
from recsys.experiments.life import draft

OFFERS = (
    Offer(OfferId("bank-a"), category="bank"),
    Offer(OfferId("bank-b"), category="bank"),
    Offer(OfferId("crm")),
)
LEADS = VolumeCap.model_validate(
    {"id": "bank-leads", "offers": {"categories": ["bank"]}, "at_most": 50, "per": "day"}
)
POLICIES = ({"name": "control", "weight": 0.5}, {"name": "short", "weight": 0.5, "policy_version": "1f0c"})


def texts(offer_id: str) -> tuple[dict[str, object], ...]:
    title = {"ru": "Счёт", "en": "Account"}
    return ({"name": "control", "weight": 0.5}, {"name": "plain", "weight": 0.5, "texts": {offer_id: title}})


def experiment(experiment_id: str = "short-list", arms: object = POLICIES, **keys: object) -> Experiment:
    document: dict[str, object] = {
        "experiment_id": experiment_id,
        "title": "A shorter list",
        "hypothesis": "Three offers are read, ten are not",
        "owner": "anna",
        "arms": arms,
        "primary": {"name": "taken", "measure": "activations"},
        "minimum_effect": 0.1,
    }
    return Experiment.model_validate({**document, **keys})


def leads(full_share: float | None = None) -> tuple[Capacity, ...]:
    shares = None if full_share is None else {"bank-leads": full_share}
    return capacities_of_caps([LEADS], OFFERS, shares)


def test_arms_share_the_partners_leads() -> None:
    (shared,) = shared_capacities(experiment(), [], leads(0.4))
    assert (shared.arms, shared.others) == (("control", "short"), ())
    assert shared.told(Language.EN) == (
        "The arms control, short of 'short-list' share “at most 50 applications a day” (bank-leads)"
        " (used up in 40% of the past periods): what one arm takes the others cannot, and the difference"
        " would look larger than what everybody would gain. To be able to trust it: raise the cap while it"
        " runs, or keep these offers out of the primary metric."
    )
    assert "не больше 50 заявок в день" in shared.told(Language.RU)


def test_running_experiments_share_it_too_even_in_the_same_layer() -> None:
    other = draft(experiment("faq", layer="lists", layer_range=(0.0, 0.5)))
    mine = experiment(layer="lists", layer_range=(0.5, 1.0))
    (shared,) = shared_capacities(mine, [other], leads())
    assert shared.others == ("faq",)
    assert "Running experiments (faq) draw on" in shared.told(Language.EN)
    assert "идущие эксперименты (faq)" in shared.told(Language.RU)


def test_an_experiment_is_not_its_own_rival() -> None:
    (shared,) = shared_capacities(experiment(), [draft(experiment())], leads())
    assert shared.others == ()


def test_what_was_never_used_up_is_not_scarce() -> None:
    assert shared_capacities(experiment(), [], leads(0.0)) == ()


@pytest.mark.parametrize(("offer_id", "n_shared"), [("bank-a", 1), ("crm", 0)])
def test_other_texts_touch_only_their_offers(offer_id: str, n_shared: int) -> None:
    tried = experiment(arms=texts(offer_id))
    assert offers_changed(tried) == frozenset([offer_id])
    assert len(shared_capacities(tried, [], leads())) == n_shared


def test_other_policies_may_touch_any_offer_and_alike_arms_none() -> None:
    assert offers_changed(experiment()) is None
    alike = experiment(arms=[{"name": "a", "weight": 0.5}, {"name": "b", "weight": 0.5}])
    assert shared_capacities(alike, [], leads()) == ()


def test_one_managers_hours_are_shared_by_arms_that_both_have_her_units() -> None:
    served = [(f"c{number}", "anna") for number in range(20)]
    (anna,) = capacities_of_people([*served, ("c0", "anna"), ("c99", "boris")])
    assert (anna.name, anna.kind, len(anna.units or ())) == ("anna", CapacityKind.PEOPLE, 20)
    (shared,) = shared_capacities(experiment(), [], [anna])
    assert shared.arms == ("control", "short")
    assert "the hours of anna" in shared.told(Language.EN)
    assert "время: anna" in shared.told(Language.RU)


def test_a_tag_names_the_manager() -> None:
    assert manager_of(("agency=NASA", "manager=anna")) == "anna"
    assert manager_of(("managers=anna",)) is None


def test_a_manager_whose_units_are_all_in_one_arm_is_not_shared() -> None:
    forced = experiment(forced={"c1": "short", "c2": "short"})
    assert shared_capacities(forced, [], capacities_of_people([("c1", "anna"), ("c2", "anna")])) == ()


def test_a_cap_of_several_policies_is_one_and_one_without_offers_none() -> None:
    wider = VolumeCap.model_validate({"id": "bank-leads", "offers": ["crm"], "at_most": 80, "per": "day"})
    empty = VolumeCap.model_validate({"id": "gone", "offers": ["no-such"], "at_most": 1, "per": "day"})
    (both,) = capacities_of_caps([LEADS, LEADS, wider, empty], OFFERS)
    assert both.offers == frozenset(["bank-a", "bank-b", "crm"])

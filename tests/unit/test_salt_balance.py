"""The seed of a small experiment: drawn among those under which the arms are alike."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.errors import ConflictError
from recsys.experiments.assignment import assignments_of
from recsys.experiments.balance import Balance, candidate_salts, choose_salt
from recsys.experiments.experiment import Experiment
from recsys.experiments.life import draft


def experiment(**keys: object) -> Experiment:
    document: dict[str, object] = {
        "experiment_id": "short-list",
        "title": "A shorter list",
        "hypothesis": "Three offers are read, ten are not",
        "owner": "anna",
        "arms": [{"name": "control", "weight": 0.5}, {"name": "short", "weight": 0.5}],
        "primary": {"name": "taken", "measure": "activations"},
        "minimum_effect": 0.1,
        "is_balanced": True,
    }
    return Experiment.model_validate({**document, **keys})


def population(n_clients: int = 300) -> tuple[list[str], list[list[str]]]:
    """Clients, a third of them in groups of three, with a size and a spend."""
    units = [f"g{number // 3}" if number % 3 else f"c{number}" for number in range(n_clients)]
    sizes = ["large" if number % 10 == 0 else "micro" for number in range(n_clients)]
    spends = ["high" if number % 7 == 0 else "low" for number in range(n_clients)]
    return units, [sizes, spends]


def gaps(balance: Balance, tried: Experiment) -> tuple[float, float]:
    """Mean gap between the arms in large clients, among the admissible seeds and among all."""
    units, (sizes, _) = population()
    large = np.array([size == "large" for size in sizes])
    found = []
    for salts in (balance.admissible_salts, candidate_salts(tried)):
        arms = assignments_of(draft(tried), salts, units)
        found.append(float(np.abs(((arms == 1) * 1 - (arms == 0)) @ large).mean()))
    return found[0], found[1]


def test_the_admissible_seeds_are_the_balanced_ones_and_many() -> None:
    tried = experiment()
    balance = choose_salt(tried, *population())
    assert len(balance.admissible_salts) == len(set(balance.admissible_salts)) == 200
    assert balance.salt in balance.admissible_salts
    assert balance.imbalance <= balance.worst_admitted < balance.median
    among_admissible, among_all = gaps(balance, tried)
    assert among_admissible < 0.8 * among_all


def test_the_choice_is_the_same_every_time_and_another_for_another_experiment() -> None:
    first = choose_salt(experiment(n_salts=50), *population())
    assert choose_salt(experiment(n_salts=50), *population()) == first
    assert choose_salt(experiment(n_salts=50, experiment_id="faq"), *population()).salt != first.salt


def test_the_order_of_clients_does_not_matter() -> None:
    units, (sizes, spends) = population()
    turned = choose_salt(experiment(n_salts=50), units[::-1], [sizes[::-1], spends[::-1]])
    assert turned == choose_salt(experiment(n_salts=50), units, [sizes, spends])


def test_codes_serve_as_names_do() -> None:
    units, (sizes, spends) = population()
    codes = [
        np.unique(np.array(labels), return_inverse=True)[1].astype(np.int64) for labels in (sizes, spends)
    ]
    assert choose_salt(experiment(n_salts=20), units, codes) == choose_salt(
        experiment(n_salts=20), units, [sizes, spends]
    )


def test_the_drawn_seed_is_any_of_the_admissible_ones() -> None:
    ranks = []
    for number in range(60):
        balance = choose_salt(experiment(experiment_id=f"e{number}", n_salts=20), *population(60))
        ranks.append(balance.admissible_salts.index(balance.salt) / len(balance.admissible_salts))
    # uniform on 0, 1/20 … 19/20: mean 0.475, standard deviation 0.288
    assert abs(np.mean(ranks) - 0.475) <= 3 * 0.288 / np.sqrt(60)


def test_without_strata_the_arms_are_alike_in_number() -> None:
    units = [f"c{number}" for number in range(100)]
    balance = choose_salt(experiment(), units, [])
    arms = assignments_of(draft(experiment()), balance.admissible_salts, units)
    assert np.abs((arms == 1).sum(axis=1) - 50).max() <= 4


def test_chance_has_an_imbalance_of_one() -> None:
    units = [f"c{number}" for number in range(400)]
    assert 0.3 < choose_salt(experiment(), units, []).median < 0.6  # median of χ² with one degree: 0.455


def test_only_the_layers_part_is_balanced() -> None:
    units, strata = population()
    balance = choose_salt(experiment(n_salts=20, layer="lists", layer_range=(0.0, 0.5)), units, strata)
    assert 0 < balance.n_units < len(set(units))


def test_too_few_and_too_many_units_are_refused_with_the_cure() -> None:
    with pytest.raises(ConflictError, match="3 units for 2 arms, and 2 for each are the least; widen"):
        choose_salt(experiment(), ["a", "b", "c", "c"], [])
    with pytest.raises(ConflictError, match="0 units for 2 arms"):
        choose_salt(experiment(), [], [])
    with pytest.raises(ConflictError, match="write is_balanced: false"):
        choose_salt(experiment(n_salts=1), [f"c{number}" for number in range(100_001)], [])


def test_more_draws_than_are_made_within_seconds_are_refused_with_the_cure() -> None:
    units = [f"u{number}" for number in range(3_000)]
    with pytest.raises(ConflictError, match="write n_salts: 6666 or less"):
        choose_salt(experiment(n_salts=10_000), units, [["a"] * 3_000] * 3)


def test_labels_are_one_for_each_client() -> None:
    with pytest.raises(ValueError, match="strata have 1 clients, unit_ids 2; give one label for each"):
        choose_salt(experiment(), ["a", "b"], [["x"]])

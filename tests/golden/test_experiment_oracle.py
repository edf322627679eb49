"""Experiment statistics against published vectors of other systems.

Oracles: GrowthBook's gbstats and back end (commit 8f1db4456915), tea-tasting (commit 90306f16), confseq
(commit 70b1ef30), tables of group-sequential constants; read from the folder of published vectors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.experiments import boundaries
from recsys.experiments.adjustment import effect_by_strata
from recsys.experiments.experiment import Spending
from recsys.experiments.group_sequential import (
    Convention,
    obrien_fleming_bounds,
    pocock_bounds,
    spending_bounds,
)
from recsys.experiments.inference import Fixed, RelativeBy, Scale, Side, effect_of, find
from recsys.experiments.multiplicity import Correction, adjust, adjusted_alphas
from recsys.experiments.power import (
    Design,
    History,
    Prior,
    effect_variance,
    factor_needed,
    power_of,
    smallest_effect,
    weekly,
    weeks_needed,
)
from recsys.experiments.sample_ratio import sample_ratio_p_value
from recsys.experiments.samples import Sample, quantile_sample, sample_from_sums
from recsys.experiments.sequential import (
    AlwaysValid,
    bernoulli_interval,
    quantile_p_value,
    treatment_effect_sequence,
)
from recsys.experiments.shrinkage import posterior_of

pytestmark = pytest.mark.reference

SIDES = {
    "TwoSidedTTest": Side.TWO_SIDED,
    "SequentialTwoSidedTTest": Side.TWO_SIDED,
    "OneSidedTreatmentGreaterTTest": Side.GREATER,
    "SequentialOneSidedTreatmentGreaterTTest": Side.GREATER,
    "OneSidedTreatmentLesserTTest": Side.LESSER,
    "SequentialOneSidedTreatmentLesserTTest": Side.LESSER,
}
# which product of which columns (numerator, denominator, both before) has which name
PRODUCTS = {
    (0, 1): "m_post_d_post",
    (0, 2): "m_post_m_pre",
    (0, 3): "m_post_d_pre",
    (1, 2): "m_pre_d_post",
    (1, 3): "d_post_d_pre",
    (2, 3): "m_pre_d_pre",
}
CORRECTIONS = {
    "holm": Correction.HOLM,
    "benjamini-hochberg": Correction.BENJAMINI_HOCHBERG,
    "benjamini-yekutieli": Correction.BENJAMINI_YEKUTIELI,
    "hochberg-sidak (step-up)": Correction.HOCHBERG_SIDAK,
    "holm-sidak (step-down)": Correction.HOLM_SIDAK,
    "hochberg (step-up, bonferroni)": Correction.HOCHBERG,
}


@pytest.fixture(scope="module")
def vectors(reference_dir: Path) -> Path:
    return reference_dir / "reference" / "experiments"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def sample_of(published: dict[str, Any]) -> Sample:
    """A statistic of gbstats as our sample."""
    kind, n_units = published["kind"], published["n"]
    if kind == "QuantileStatistic":
        ends = published["quantile_lower"], published["quantile_upper"]
        return quantile_sample(
            n_units, published["nu"], published["quantile_hat"], ends, n_interval=published["n_star"]
        )
    if kind == "RatioStatistic":
        parts = [published["m_statistic"], published["d_statistic"]]
        shared = {(0, 1): published["m_d_sum_of_products"]}
    elif kind == "RegressionAdjustedStatistic":
        parts = [published["post_statistic"], published["pre_statistic"]]
        shared = {(0, 1): published["post_pre_sum_of_products"]}
    elif kind == "RegressionAdjustedRatioStatistic":
        names = ("m_statistic_post", "d_statistic_post", "m_statistic_pre", "d_statistic_pre")
        parts = [published[name] for name in names]
        shared = {pair: published[f"{name}_sum_of_products"] for pair, name in PRODUCTS.items()}
    else:
        parts, shared = [published], {}
    products = np.diag([part.get("sum_squares", part["sum"]) for part in parts]).astype(float)
    for (row, column), product in shared.items():
        products[row, column] = products[column, row] = product
    return sample_from_sums(
        n_units,
        [part["sum"] for part in parts],
        products.tolist(),
        is_binary=[part["kind"] == "ProportionStatistic" for part in parts],
        is_ratio="Ratio" in kind,
        is_adjusted="RegressionAdjusted" in kind,
    )


def test_gbstats_tests(vectors: Path) -> None:
    cases = [
        case for case in read(vectors / "growthbook/gbstats_tests.json")["cases"] if case["test"] in SIDES
    ]
    assert len(cases) >= 23
    for case in cases:
        config, expected = case["config"], case["expected"]
        side, alpha = SIDES[case["test"]], config["alpha"]
        test = Fixed(alpha, side)
        if "Sequential" in case["test"]:
            test = AlwaysValid(alpha, side, config["sequential_tuning_parameter"], config["rho"])
        found = find(
            effect_of(sample_of(case["control"]), sample_of(case["treatment"])),
            test,
            Scale(config["difference_type"]),
            null=config["test_value"],
            by=RelativeBy.DELTA,
        )
        figures = [found.value, found.low, found.high, found.standard_error, found.p_value]
        published = [expected["expected"], *map(float, expected["ci"])]
        published += [expected["uplift"]["stddev"], expected["pValue"]]
        assert figures == pytest.approx(published, abs=1e-9), case["name"]
        assert (found.cause is None) == (expected["errorMessage"] is None), case["name"]


def test_gbstats_posteriors(vectors: Path) -> None:
    cases = [
        case for case in read(vectors / "growthbook/gbstats_tests.json")["cases"] if case["test"] not in SIDES
    ]
    assert len(cases) >= 5
    for case in cases:
        config, expected = case["config"], case["expected"]
        effect = effect_of(sample_of(case["control"]), sample_of(case["treatment"]))
        is_relative = config["difference_type"] == "relative"
        value = effect.relative if is_relative else effect.difference
        error = effect.delta_error() if is_relative else effect.difference_variance**0.5
        # a prior on the other scale is carried over by the baseline
        unit = 1.0
        if config["prior_type"] != config["difference_type"]:
            unit = 1 / abs(effect.baseline) if is_relative else abs(effect.baseline)
        prior = config["prior_effect"]
        found = posterior_of(
            value,
            error,
            prior=(prior["mean"] * unit, prior["variance"] * unit**2) if prior["proper"] else None,
            alpha=config["alpha"],
            higher_is_better=not config["inverse"],
        )
        figures = [found.value, found.low, found.high, found.standard_error, found.chance_to_win]
        figures += [found.risk_of_control, found.risk_of_treatment]
        published = [expected["expected"], *expected["ci"], expected["uplift"]["stddev"]]
        published += [expected["chanceToWin"], *expected["risk"]]
        assert figures == pytest.approx(published, abs=1e-9), case["name"]


@pytest.mark.parametrize("kind", ["count", "count_reg", "ratio", "ratio_reg"])
def test_gbstats_post_stratification(vectors: Path, kind: str) -> None:
    values = read(vectors / "growthbook/gbstats_post_stratification.json")["values"]
    effect = effect_by_strata([(sample_of(a), sample_of(b)) for a, b in values[f"stats_{kind}_strata"]])
    assert effect.difference == pytest.approx(values[f"point_estimate_{kind}_abs"], abs=1e-9)
    assert effect.relative == pytest.approx(values[f"point_estimate_{kind}_rel"], abs=1e-9)
    assert effect.difference_variance**0.5 == pytest.approx(values[f"standard_error_{kind}_abs"], abs=1e-9)
    assert effect.delta_error() == pytest.approx(values[f"standard_error_{kind}_rel"], abs=1e-9)


def test_power_at_one_size(vectors: Path) -> None:
    published = read(vectors / "growthbook/power.json")
    [variance] = published["variance"]
    found = effect_variance((2, 7, 4), (0.5, 5, 15))
    assert found == pytest.approx((variance["absolute"], variance["relative"]), abs=5.1e-6)
    for case in published["single"]:
        design = Design(case["n_variations"], case["alpha"], tuned_to=case.get("sequential_N*"))
        history = History(case["mean"], case["sd"] ** 2)
        power = power_of(case["effect"], history, case["n_total"], design)
        assert power == pytest.approx(case["power"], abs=5.1e-6)
        smallest = smallest_effect(history, case["n_total"], design)
        assert smallest == pytest.approx(case["mde_at_0.8"], abs=5.1e-6)


@pytest.mark.parametrize(("key", "tuned_to"), [("fixed", None), ("sequential_N*_5000", 5000.0)])
def test_power_by_week(vectors: Path, key: str, tuned_to: float | None) -> None:
    plan = read(vectors / "growthbook/power.json")["weekly"]
    design = Design(plan["n_variations"], plan["alpha"], plan["target_power"], tuned_to=tuned_to)
    for name, metric in plan["metrics"].items():
        mean = metric["rate"] if metric["type"] == "binomial" else metric["mean"]
        variance = mean * (1 - mean) if metric["type"] == "binomial" else metric["sd"] ** 2
        published = plan[key]["power"][name]
        weeks = weekly(
            metric["effect"], History(mean, variance), plan["users_per_week"], len(published), design
        )
        assert [week.power for week in weeks] == pytest.approx(published, abs=5.1e-6)
        assert [week.smallest_effect for week in weeks] == pytest.approx(plan[key]["mde"][name], abs=5.1e-6)
        if "weeks_to_target" in plan[key]:
            assert weeks_needed(weeks, plan["target_power"]) == plan[key]["weeks_to_target"][name]


def test_power_in_the_middle(vectors: Path) -> None:
    published = read(vectors / "growthbook/power.json")
    [case] = [value for key, value in published.items() if key.startswith("mid_experiment")]
    columns = zip(case["n"], case["sum"], case["sum_squares"], strict=True)
    effect = effect_of(*(sample_from_sums(n, [total], [[squares]]) for n, total, squares in columns))
    now = effect.delta_error(), effect.n_units, case["target_mde"]
    factors = case["scaling_factor"]
    design = Design(alpha=case["alpha"], power=case["target_power"])
    assert factor_needed(*now, design) == factors["frequentist"]
    assert factor_needed(*now, Design(tuned_to=5000)) == factors["sequential N*=5000"]
    assert factor_needed(*now, design, prior=Prior(0.05, 0.001)) == factors["bayes prior N(0.05, var 0.001)"]


def test_sample_ratio(vectors: Path) -> None:
    for case in read(vectors / "growthbook/srm.json")["cases"]:
        found = sample_ratio_p_value(case["users"], case["weights"])
        assert found == pytest.approx(case["expected_p_9dp"], abs=5.1e-10), case


def mixture_of(name: str, args: dict[str, Any]) -> Any:
    alpha, is_one_sided = args.get("alpha_opt", 0.05), args.get("is_one_sided", True)
    if name.startswith("normal"):
        return boundaries.NormalMixture.tuned(args["v_opt"], alpha, is_one_sided=is_one_sided)
    if name.startswith("gamma_exponential"):
        return boundaries.GammaExponentialMixture.tuned(args["v_opt"], args["c"], alpha)
    if name.startswith("gamma_poisson"):
        return boundaries.GammaPoissonMixture.tuned(args["v_opt"], args["c"], alpha)
    return boundaries.BetaBinomialMixture.tuned(
        args["v_opt"], args["g"], args["h"], alpha, is_one_sided=is_one_sided
    )


def quantile_test(args: dict[str, Any]) -> float:
    ordered = np.arange(1.0, 1001.0)
    tuning = {"tuned_to": args["t_opt"], "alpha_opt": args["alpha_opt"]}
    return quantile_p_value(ordered, ordered + args["offset"], args["quantile_p"], **tuning)


def success_interval(args: dict[str, Any]) -> tuple[float, float]:
    return bernoulli_interval(
        args["num_successes"], args["num_trials"], alpha=args["alpha"], tuned_to=args["t_opt"]
    )


FUNCTIONS = {
    "TwoSidedNormalMixture.best_rho": lambda of: boundaries.best_variance(
        of["v_opt"], of["alpha_opt"], is_one_sided=False
    ),
    "poly_stitching_bound": lambda of: boundaries.poly_stitching_bound(
        of["v"], of["alpha"], of["v_min"], of["c"]
    ),
    "empirical_process_lil_bound": lambda of: boundaries.empirical_process_bound(
        of["t"], of["alpha"], of["t_min"], of["A"]
    ),
    "double_stitching_bound": lambda of: boundaries.double_stitching_bound(
        of["quantile_p"], of["t"], of["alpha"], of["t_opt"]
    ),
    "bernoulli_confidence_interval": success_interval,
    "QuantileABTest.p_value": quantile_test,
}


def boundary_of(name: str, args: dict[str, Any]) -> Any:
    if name.endswith("_log_mixture"):
        return mixture_of(name, args).log_value(args["s"], args["v"])
    if name.endswith("_mixture_bound"):
        return mixture_of(name, args).bounds(args["v"], args["alpha"])
    return FUNCTIONS[name](args)


def test_confseq_boundaries(vectors: Path) -> None:
    cases = read(vectors / "confseq/uniform_boundaries.json")["cases"]
    assert len(cases) >= 31
    for case in cases:
        # published with seven digits
        found, published = np.array(boundary_of(case["fn"], case["args"])), np.array(case["expected"])
        assert found == pytest.approx(published, rel=1e-6, abs=3e-6), case


def test_confseq_effect_after_every_row(vectors: Path) -> None:
    rows = np.genfromtxt(
        vectors / "confseq/ate_data.csv", delimiter=",", names=True, dtype=None, encoding="utf8"
    )
    assert len(rows) == 1000
    found = treatment_effect_sequence(
        rows["y"].astype(float),
        rows["treatment"],
        share=0.5,
        support=(0.0, 1.0),
        outcome_variance=0.2 * 0.8,
        tuned_to=50,
    )
    assert found.values == pytest.approx(rows["point_estimate"], abs=1e-9)
    assert found.highs == pytest.approx(rows["upper_confidence_bound"], abs=1e-9)
    assert found.lows == pytest.approx(rows["lower_confidence_bound"], abs=1e-9)
    assert found.p_values == pytest.approx(rows["p_value"], abs=1e-9)


@pytest.mark.parametrize(
    ("key", "spending", "convention"),
    [
        ("lan_demets_pocock", Spending.POCOCK, Convention.TOTAL),
        ("kim_demets_phi2", Spending.QUADRATIC, Convention.TOTAL),
        ("lan_demets_obf_total_alpha_convention", Spending.OBRIEN_FLEMING, Convention.TOTAL),
        (
            "lan_demets_obf_per_side_convention (R ldbounds/gsDesign)",
            Spending.OBRIEN_FLEMING,
            Convention.PER_SIDE,
        ),
    ],
)
def test_spending_bounds(vectors: Path, key: str, spending: Spending, convention: Convention) -> None:
    for n_looks, published in read(vectors / "group_sequential_constants.json")["values"][key].items():
        shares = [(look + 1) / int(n_looks) for look in range(int(n_looks))]
        found = spending_bounds(shares, spending, convention=convention)
        assert found == pytest.approx(published, abs=5.1e-5)


def test_pocock_and_obrien_fleming(vectors: Path) -> None:
    values = read(vectors / "group_sequential_constants.json")["values"]
    for n_looks, constant in values["pocock"].items():
        assert pocock_bounds(int(n_looks)) == pytest.approx([constant] * int(n_looks), abs=5.1e-5)
    for n_looks, constant in values["obrien_fleming"].items():
        looks = np.arange(1, int(n_looks) + 1)
        found = obrien_fleming_bounds(int(n_looks)) / np.sqrt(int(n_looks) / looks)
        assert found == pytest.approx([constant] * int(n_looks), abs=5.1e-5)


def test_multiplicity(vectors: Path) -> None:
    for case in read(vectors / "multiple_testing.json")["cases"]:
        p_values, correction = np.array(case["p"]), CORRECTIONS[case["method"]]
        found = adjust(p_values, correction)
        tolerance = 5.1e-5 if case["from"] == "growthbook" else 1e-9
        assert found == pytest.approx(case["adjusted"], abs=tolerance)
        if "alpha_adjusted" in case:
            levels = adjusted_alphas(p_values, correction, case["alpha"])
            assert levels == pytest.approx(case["alpha_adjusted"], abs=1e-9)
            assert (found <= case["alpha"]).tolist() == [bool(flag) for flag in case["null_rejected"]]
            assert (p_values <= levels).tolist() == [bool(flag) for flag in case["null_rejected"]]

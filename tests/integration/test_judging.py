"""What a contestant is judged on at a cut: lists, margins, probabilities, exposures, and never the future."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.data.dataset import Dataset
from recsys.data.read import read_dataset
from recsys.domain import Target
from recsys.errors import DataError, LeakageError
from recsys.evaluation.report import EvaluationConfig, EvaluationResult, Subject
from recsys.models.base import ClientBatch, FirstConnections, FloatArray
from training.pipelines.evaluation.contestants import Fitted, Scores, contestant
from training.pipelines.evaluation.cuts import CutTruth, check_no_leak, take_cut
from training.pipelines.evaluation.judge import judge
from training.pipelines.evaluation.pooling import facts_of, pool_cuts, pool_forecasts, pool_shown
from training.pipelines.evaluation.report import render_report
from training.pipelines.evaluation.stakes import Stakes
from training.pipelines.evaluation.summary import summarise

START = datetime(2024, 1, 1, tzinfo=UTC)
CUT = datetime(2024, 3, 1, tzinfo=UTC)
END = datetime(2024, 5, 31, 12, tzinfo=UTC)
INSTANT = pl.Datetime("us", "UTC")
CLIENTS = ("c0", "c1", "c2", "c3")
OFFERS = ("a", "b", "d")
# by client, then offer; nobody is offered what it has
CHANCES = np.array([[0.9, 0.5, 0.1], [0.4, 0.2, 0.1], [0.3, 0.2, 0.1], [0.3, 0.2, 0.1]])


def day(n_days: float) -> datetime:
    return CUT + timedelta(days=n_days)


HOLDINGS = [
    ("c0", "a", START, None),
    ("c0", "b", day(5), None),  # 300 within the horizon
    ("c1", "a", day(8), None),  # 100 within the horizon
    ("c2", "b", START, START + timedelta(days=20)),
    ("c2", "b", day(3), None),  # again
    ("c3", "d", START, None),
    ("c3", "a", day(45), None),  # after the horizon
    ("last", "d", END, None),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("judging")
    (folder / "dataset.toml").write_text('name = "tiny"\ncurrency = "RUB"\ntime_zone = "Europe/Moscow"\n')
    clients = [*CLIENTS, "last"]
    write(
        folder / "clients.parquet",
        {
            "client_id": clients,
            "valid_from": START,
            "recorded_at": START,
            "size": ["micro", "small", "micro", "small", "micro"],
            "client_since_on": date(2023, 12, 1),
        },
    )
    write(
        folder / "offers.parquet",
        {
            "offer_id": OFFERS,
            "kind": "own",
            "recorded_at": START,
            "title_en": ["Alpha", "Beta", "Delta"],
            "supplier_id": ["s1", "s1", "s2"],
            "need_group": ["x", "x", "y"],
            "margin_minor": [100, 300, None],
        },
    )
    write(
        folder / "holdings.parquet",
        {
            "holding_id": [f"h{number}" for number in range(len(HOLDINGS))],
            "client_id": [row[0] for row in HOLDINGS],
            "offer_id": [row[1] for row in HOLDINGS],
            "connected_at": [row[2] for row in HOLDINGS],
            "disconnected_at": [row[3] for row in HOLDINGS],
            "recorded_at": [row[3] or row[2] for row in HOLDINGS],
        },
    )
    write_exposures(folder)
    return read_dataset(folder)


def write(path: Path, columns: dict[str, object]) -> None:
    frame = pl.DataFrame(columns)
    instants = [name for name in frame.columns if name.endswith(("_at", "_from"))]
    frame.with_columns(pl.col(instants).cast(INSTANT)).write_parquet(path)


SHOWN = [  # decision, client, day after the cut, offers by slot
    ("d0", "c0", -1.0, ("a",)),  # before the cut
    ("d1", "c0", 2.0, ("b", "d")),  # b: activated three days later
    ("d2", "c1", 4.0, ("b", "d", "c", "a")),  # c is not in the log of what was shown; a: slot 4
    ("d3", "c3", 20.0, ("b",)),
    ("d4", "c2", 31.0, ("a",)),  # after the horizon of the evaluation
]


def write_exposures(folder: Path) -> None:
    rows = [
        (decision, client, day(at), slot, offer)
        for decision, client, at, offers in SHOWN
        for slot, offer in enumerate(offers, start=1)
        if offer != "c"
    ]
    write(
        folder / "decisions.parquet",
        {
            "decision_id": [row[0] for row in SHOWN],
            "client_id": [row[1] for row in SHOWN],
            "placement_id": "home",
            "occurred_at": [day(row[2]) for row in SHOWN],
            "recorded_at": [day(row[2]) for row in SHOWN],
            "seed": 1,
        },
    )
    write(
        folder / "decision_items.parquet",
        {
            "decision_id": [row[0] for row in rows],
            "slot": [row[3] for row in rows],
            "offer_id": [row[4] for row in rows],
            "change": "new",
            "logging_probability": 1.0,
        },
    )
    # each offer of a list is seen some seconds after the one above
    seen_at = [row[2] + timedelta(seconds=row[3]) for row in rows]
    activated = [("c0", "b", day(5)), ("c3", "b", day(51))]  # the second more than thirty days after
    write(
        folder / "events.parquet",
        {
            "event_id": [f"e{number}" for number in range(len(rows) + len(activated))],
            "event_type": ["impression"] * len(rows) + ["activation"] * len(activated),
            "client_id": [row[1] for row in rows] + [row[0] for row in activated],
            "occurred_at": seen_at + [row[2] for row in activated],
            "recorded_at": seen_at + [row[2] for row in activated],
            "offer_id": [row[4] for row in rows] + [row[1] for row in activated],
            "decision_id": [row[0] for row in rows] + [None] * len(activated),
            "slot": [row[3] for row in rows] + [None] * len(activated),
        },
    )


@pytest.fixture(scope="module")
def truth(dataset: Dataset) -> CutTruth:
    return take_cut(dataset, CUT, 30)


@pytest.fixture(scope="module")
def stakes(dataset: Dataset, truth: CutTruth) -> Stakes:
    return Stakes(dataset, truth, 30)


def known_chances(clients: ClientBatch) -> FloatArray:
    rows = [CLIENTS.index(state.client_id) if state.client_id in CLIENTS else 3 for state in clients.states]
    return CHANCES[rows]


def probable(clients: ClientBatch) -> Scores:
    chances = known_chances(clients)
    return np.log(chances), chances


def scored(clients: ClientBatch) -> Scores:
    return known_chances(clients), None


def pattern(matrix: object, truth: CutTruth) -> set[tuple[str, str]]:
    rows, columns = matrix.nonzero()  # type: ignore[attr-defined]
    return {
        (truth.client_ids[row], truth.offers.offer_ids[column])
        for row, column in zip(rows, columns, strict=True)
    }


def test_the_truth_is_of_everybody_observed(truth: CutTruth) -> None:
    assert truth.client_ids == (*CLIENTS, "last")
    assert pattern(truth.relevant, truth) == {("c0", "b"), ("c1", "a")}
    assert [truth.client_ids[row] for row in truth.adopters] == ["c0", "c1"]
    assert pattern(truth.returnable, truth) == pattern(truth.again, truth) == {("c2", "b")}
    assert truth.segments["size"] == ("micro", "small", "micro", "small", "micro")
    assert truth.segments["history"] == ("warm", "cold", "cold", "warm", "cold")
    assert truth.segments["tenure"] == ("3–12 months",) * 5
    assert "region" not in truth.segments


def test_lists_margins_and_repeats(stakes: Stakes) -> None:
    judged = judge(Fitted(scored), stakes, k=2)
    # c0 has a; c2 had b; c3 has d
    assert judged.lists.tolist() == [[1, 2], [0, 1], [0, 2], [0, 1], [0, 1]]
    assert judged.margin is not None
    assert judged.margin.tolist() == [300.0, 100.0, 0.0, 0.0, 0.0]
    assert judged.hits.is_relevant.tolist() == [[True, False], [True, False]]
    assert judged.hits_again.is_relevant.tolist() == [[True, False]]
    assert judged.forecasts is None


def test_the_best_pairs_are_those_of_all_clients_together(stakes: Stakes) -> None:
    judged = judge(Fitted(scored), stakes, k=2)
    # of 12 open pairs the best 5 % are 0.6 of one: the first, (c0, b), brings 300 of 400
    caught = judged.caught["margin_top_5_percent"]
    assert caught.denominators.sum() == 400
    assert caught.numerators.sum() / caught.denominators.sum() == pytest.approx(0.6 * 300 / 400)
    assert judged.curve[0] == 0
    assert judged.curve[-1] == 1


def test_adoption_is_judged_on_the_first_three_slots_of_all_lists(stakes: Stakes) -> None:
    judged = judge(Fitted(probable, Target.ADOPTION, 30), stakes, k=2)
    found = judged.forecasts
    assert found is not None
    assert found.probabilities.tolist() == [0.5, 0.1, 0.4, 0.2, 0.3, 0.1, 0.3, 0.2, 0.3, 0.2]
    assert found.outcomes.tolist() == [1, 0, 1, 0, 0, 0, 0, 0, 0, 0]


def test_adoption_within_other_days_is_held_against_those_days(stakes: Stakes) -> None:
    judged = judge(Fitted(probable, Target.ADOPTION, 60), stakes, k=2)
    assert judged.forecasts is not None
    assert judged.forecasts.outcomes.tolist() == [1, 0, 1, 0, 0, 0, 1, 0, 0, 0]
    beyond = judge(Fitted(probable, Target.ADOPTION, 400), stakes, k=2)
    assert beyond.forecasts is None


def test_acceptance_is_judged_on_what_was_really_shown(stakes: Stakes) -> None:
    judged = judge(Fitted(probable, Target.ACCEPTANCE, 30), stakes, k=2)
    found = judged.forecasts
    assert found is not None
    shown = sorted(
        zip(
            found.client_ids,
            found.columns.tolist(),
            found.probabilities.tolist(),
            found.outcomes.tolist(),
            strict=True,
        )
    )
    # slot 4, the day before the cut and what was shown after the horizon are not among them
    assert shown == [
        ("c0", 1, 0.5, 1.0),
        ("c0", 2, 0.1, 0.0),
        ("c1", 1, 0.2, 0.0),
        ("c1", 2, 0.1, 0.0),
        ("c3", 1, 0.2, 0.0),
    ]


def test_exposures_whose_days_are_not_over_are_left_out(stakes: Stakes) -> None:
    exposed = stakes.exposed(80)
    assert exposed is not None
    assert exposed.outcomes.tolist().count(1.0) == 1
    assert len(exposed.rows) == 5  # c3 was shown b less than eighty days before the data end


def test_lists_that_were_shown_are_judged_by_the_order_of_what_was_activated(stakes: Stakes) -> None:
    # of c0's list b was activated and d was not; nothing of any other list was
    judged = judge(Fitted(scored), stakes, k=2)
    assert judged.shown.client_ids == ("c0",)
    assert judged.shown.values.tolist() == [1.0]

    def turned(clients: ClientBatch) -> Scores:
        return -known_chances(clients), None

    assert judge(Fitted(turned), stakes, k=2).shown.values.tolist() == [0.0]


def test_a_shown_list_is_judged_as_of_the_microsecond_before_its_first_offer_was_seen(
    stakes: Stakes,
) -> None:
    exposed = stakes.exposed(30)
    assert exposed is not None
    first = next(row for row, client_id in enumerate(exposed.client_ids) if client_id == "c0")
    assert exposed.clients.moments[first] == day(2) + timedelta(seconds=1) - timedelta(microseconds=1)
    assert (np.diff(exposed.rows) >= 0).all()


def test_exposures_are_predicted_once(stakes: Stakes) -> None:
    n_predicted = []

    def counted(clients: ClientBatch) -> Scores:
        n_predicted.append(len(clients))
        return probable(clients)

    judge(Fitted(counted, Target.ACCEPTANCE, 30), stakes, k=2)
    exposed = stakes.exposed(30)
    assert exposed is not None
    assert n_predicted == [len(stakes.truth.clients), len(exposed.clients)]


def test_adoption_is_not_judged_on_clients_who_left_before_its_days_were_over(dataset: Dataset) -> None:
    clients = dataset.table("clients")
    is_leaver = pl.col("client_id") == "c1"
    leaves_at = pl.when(is_leaver).then(pl.lit(day(40))).otherwise(None).cast(INSTANT).alias("valid_to")
    changed = replace(dataset, tables={**dataset.tables, "clients": clients.with_columns(leaves_at)})
    stakes = Stakes(changed, take_cut(changed, CUT, 30), 30)
    beyond = judge(Fitted(probable, Target.ADOPTION, 60), stakes, k=2).forecasts
    within = judge(Fitted(probable, Target.ADOPTION, 30), stakes, k=2).forecasts
    assert beyond is not None
    assert within is not None
    assert "c1" in within.client_ids
    assert "c1" not in beyond.client_ids
    assert beyond.outcomes.sum() == 2  # c0's b, and c3's a after 45 days


def test_what_models_learnt_from_is_gone_after_judging(stakes: Stakes) -> None:
    kept = [facts_of(stakes.truth), judge(Fitted(probable, Target.ADOPTION, 30), stakes, k=2)]
    types = {type(getattr(one, name)).__name__ for one in kept for name in one.__slots__}
    assert not types & {"CutTruth", "KnownWorld", "ClientBatch", "Fitted", "Stakes"}


def test_what_differs_between_cuts_stands_under_its_own_name(stakes: Stakes) -> None:
    """Adoption at one cut and acceptance at the other, and a client that changed its account group."""
    first, last = facts_of(stakes.truth), facts_of(stakes.truth)
    is_c0 = pl.col("client_id") == "c0"
    last = replace(
        last, rows=last.rows.with_columns(unit=pl.when(is_c0).then(pl.lit("group g")).otherwise("unit"))
    )
    judged = [judge(Fitted(probable, target, 30), stakes, 2) for target in Target]
    pool = pool_cuts([first, last])
    found = pool_forecasts(pool, judged)
    assert {target: len(one.outcomes) for target, one in found.items()} == {
        Target.ADOPTION: 10,
        Target.ACCEPTANCE: 5,
    }
    units = [
        unit for client_id, unit in pool.rows.select("client_id", "unit").iter_rows() if client_id == "c0"
    ]
    assert units == ["group g", "group g"]
    shown_units, _ = pool_shown(pool, {"both": judged})
    assert shown_units.tolist() == [0, 0]
    config = EvaluationConfig(
        models=("both",), cuts=(CUT, day(1)), horizon_days=30, k=2, seed=1, n_resamples=50
    )
    result = summarise(
        Subject("tiny", "UTC", "data", "config", "RUB"), config, [first, last], {"both": judged}
    )
    assert result.targets == {"both": (Target.ACCEPTANCE, Target.ADOPTION)}
    assert result.estimates["both"]["adoption_observed_to_expected"].value == pytest.approx(2 / 2.6)
    assert result.estimates["both"]["acceptance_observed_to_expected"].value == pytest.approx(1 / 1.1)
    assert set(result.tables["reliability"]["target"]) == {"adoption", "acceptance"}


def test_a_model_asked_for_by_name_is_not_replaced_by_another(truth: CutTruth) -> None:
    with pytest.raises(
        DataError, match="model 'boosted' learns from what clients were shown, and too little"
    ):
        contestant("boosted").fit(truth.known, 1)


@pytest.fixture(scope="module")
def result(stakes: Stakes) -> EvaluationResult:
    fitted = {
        "gives-adoption": Fitted(probable, Target.ADOPTION, 30, (("n_sims", 0.7), ("age", 0.3))),
        "gives-acceptance": Fitted(probable, Target.ACCEPTANCE, 30),
        "ease": Fitted(scored),
    }
    config = EvaluationConfig(models=tuple(fitted), cuts=(CUT,), horizon_days=30, k=2, seed=1, n_resamples=50)
    subject = Subject("tiny", "UTC", "data", "config", "RUB")
    return summarise(
        subject,
        config,
        [facts_of(stakes.truth)],
        {name: [judge(one, stakes, 2)] for name, one in fitted.items()},
    )


def test_probabilities_are_reported_under_the_name_of_what_they_are(result: EvaluationResult) -> None:
    assert result.targets == {
        "gives-adoption": (Target.ADOPTION,),
        "gives-acceptance": (Target.ACCEPTANCE,),
    }
    adoption, acceptance = result.estimates["gives-adoption"], result.estimates["gives-acceptance"]
    assert adoption["adoption_observed_to_expected"].value == pytest.approx(2 / 2.6)
    assert acceptance["acceptance_observed_to_expected"].value == pytest.approx(1 / 1.1)
    assert not [metric for metric in adoption if metric.startswith("acceptance_")]
    assert not [metric for metric in result.estimates["ease"] if "calibration" in metric]
    assert "calibration" not in result.missing
    assert result.estimates["ease"]["shown_order"].value == 1.0
    assert result.verdict.startswith(
        "Of what clients were shown: no difference is shown between gives-acceptance and ease"
    )


def test_margins_suppliers_and_importance_are_there_where_the_data_tell_them(
    result: EvaluationResult,
) -> None:
    assert result.estimates["ease"]["margin_at_k"].value == pytest.approx(400 / 5)
    assert result.estimates["ease"]["ndcg_again"].value == 1.0
    suppliers = result.tables["by_supplier"].filter(pl.col("model") == "ease")
    assert dict(suppliers.select("supplier_id", "share_of_adoptions").iter_rows())["s1"] == 1.0
    assert suppliers["share_of_slots"].sum() == pytest.approx(1.0)
    assert result.tables["importance"].rows() == [
        ("gives-adoption", "n_sims", 0.7),
        ("gives-adoption", "age", 0.3),
    ]
    assert set(result.missing) == {"by industry", "by region", "segments"}


def test_the_report_shows_probabilities_importance_and_examples_with_titles(result: EvaluationResult) -> None:
    page = render_report(result)
    for text in (
        "Probabilities of adoption",
        "Probabilities of acceptance",
        "Reliability",
        "What the model looks at",
    ):
        assert f">{text}<" in page
    assert "Margin at k, RUB" in page
    assert "Alpha" in page


def test_a_history_from_the_future_is_a_leak(dataset: Dataset, truth: CutTruth) -> None:
    training = replace(truth.known.training, history=FirstConnections.from_triples([(0, 1, 0.0)]))
    ids = [state.client_id for state in truth.known.snapshot.states]
    with pytest.raises(LeakageError, match="the holding of offer 'b' by client 'c0' was recorded after"):
        check_no_leak(dataset, ids, training)


def test_rows_recorded_late_are_not_known_at_the_cut(dataset: Dataset) -> None:
    """Connected long before the cut, recorded after it: nobody could know."""
    holdings = dataset.table("holdings")
    late = holdings.head(1).with_columns(
        pl.lit("late").alias("holding_id"),
        pl.lit("c1").alias("client_id"),
        pl.lit(day(1)).alias("recorded_at"),
    )
    planted = replace(dataset, tables={**dataset.tables, "holdings": pl.concat([holdings, late])})
    truth = take_cut(planted, CUT, 30)
    row = truth.client_ids.index("c1")
    assert truth.clients.columns_of(row).tolist() == []
    assert truth.known.training.history.rows.tolist().count(row) == 0
    assert planted.table("holdings").height - 1 > truth.known.dataset.table("holdings").height

"""``recsys-train policy check | test | diff`` on the demo operator's policy and a small made-up operator."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from recsys.decision.arbitration import Estimate, rank
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.compile import ConditionSet
from recsys.decision.conditions.facts import Moment
from recsys.decision.engine import Engine
from recsys.decision.policy.engagement import EngagementSpec
from recsys.decision.policy.logic import FALSE, TRUE, UNKNOWN, Demand, inline, is_possible
from recsys.decision.policy.policy import Policy
from recsys.decision.policy.walk import plain
from recsys.decision.situation import Ask, Situation
from recsys.domain import Basis, Change, ClientId, ClientState, Holding, Offer, OfferId
from recsys.errors import ConfigError
from training.cli import app
from training.pipelines.fit import fit
from training.pipelines.policies.check import check
from training.pipelines.policies.diff import PolicyDiff, diff, list_of
from training.pipelines.policies.examples import run_examples
from training.pipelines.policies.sources import open_clients, open_policy
from training.pipelines.worlds.simulate import simulate

COMMAND = str(Path(sys.executable).parent / "recsys-train")


@pytest.fixture(scope="module")
def demo(root_dir: Path) -> Path:
    return root_dir / "datasets" / "demo"


@pytest.fixture(scope="module")
def data(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("operator")
    simulate(demo, demo / "worlds" / "small.toml", folder, n_clients=80, n_months=4, seed=7)
    return str(folder)


@pytest.fixture
def policy(demo: Path, tmp_path: Path) -> Path:
    """A copy of the demo's policy that a test may change."""
    return Path(shutil.copytree(demo, tmp_path / "policy"))


def change(policy: Path, document: str, old: str, new: str) -> None:
    text = (policy / document).read_text(encoding="utf-8")
    assert old in text
    (policy / document).write_text(text.replace(old, new, 1), encoding="utf-8")


def line_of(policy: Path, document: str, text: str) -> int:
    lines = (policy / document).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["policy", *words])


# check


def test_the_demo_policy_is_sound(demo: Path) -> None:
    done = run("check", str(demo))
    assert done.exit_code == 0, done.stderr
    assert " 43 rules, 12 caps, version " in done.stdout
    assert done.stdout.splitlines()[-1].endswith(": sound")


def test_a_fault_is_a_line_with_place_and_cure_and_exit_code_1(policy: Path) -> None:
    change(policy, "engagement.yaml", "offers: [speech-an]", "offers: [speech-am]")
    line = line_of(policy, "engagement.yaml", "speech-am")
    done = run("check", str(policy), "--json")
    assert done.exit_code == 1
    report = orjson.loads(done.stdout)
    assert report["faults"] == [
        f"{policy}/engagement.yaml:{line}: there is no offer 'speech-am'; did you mean 'speech-an'?"
    ]


def test_a_policy_that_cannot_be_read_is_one_line_and_exit_code_1(policy: Path) -> None:
    change(policy, "engagement.yaml", "segments:", "segmentz:")
    command = [COMMAND, "policy", "check", str(policy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    line = line_of(policy, "engagement.yaml", "segmentz:")
    expected = f"{policy}/engagement.yaml:{line}: unknown field 'segmentz'; did you mean 'segments'?"
    assert done.stderr.splitlines() == [expected]
    assert done.stdout == ""


def test_the_data_say_which_rules_are_idle(policy: Path, data: str) -> None:
    change(
        policy,
        "engagement.yaml",
        "only_if: {field: region, in: [MOW, MOS, SPE, SVE, NVS, TA]}",
        "only_if: {field: region, in: [Atlantis]}",
    )
    report = check(policy, data)
    assert report.faults == ()
    line = line_of(policy, "engagement.yaml", "id: speech-analytics-regions")
    place = f"{policy}/engagement.yaml:{line}: "
    told = [warning.removeprefix(place) for warning in report.warnings if warning.startswith(place)]
    assert any(text.startswith("rule 'speech-analytics-regions' refuses every one of") for text in told)
    assert any("rule 'two-complaints' refuses none of" in warning for warning in report.warnings)
    assert "0 faults" not in str(report)
    assert not any("no-hiring-in-january" in warning for warning in report.warnings)


def test_an_offer_without_a_client_names_the_rule_that_refuses_most(policy: Path, data: str) -> None:
    change(
        policy,
        "engagement.yaml",
        "only_if: {field: n_employees, at_least: 20}",
        "only_if: {field: n_employees, at_least: 1000000}",
    )
    report = check(policy, data)
    line = line_of(policy, "engagement.yaml", "id: health-insurance-staff")
    starts = f"{policy}/engagement.yaml:{line}: none of "
    (warning,) = [warning for warning in report.warnings if warning.startswith(starts)]
    assert "may have 'dms': most are refused by 'health-insurance-staff'" in warning


def test_rules_without_a_catalogue_cannot_be_checked(policy: Path, data: str) -> None:
    (policy / "catalogue.yaml").unlink()
    with pytest.raises(ConfigError, match="add it or give --data"):
        check(policy)
    assert check(policy, data).faults == ()


def test_what_happens_to_clients_is_never_called_impossible(demo: Path, data: str) -> None:
    """The reasoning about rules agrees with the engine: whatever comes out for some client can come out."""
    engagement, clients = open_policy(demo).policy.engagement, open_clients(data)
    conditions = [rule.condition for rule in engagement.rules]
    compiled = ConditionSet(conditions, engagement.segments, clients.catalogue)
    truth = compiled.evaluate(clients.snapshot.states, Moment(clients.snapshot.as_of, placement="home"))
    segments = {name: plain(condition) for name, condition in engagement.segments.items()}
    n_seen = 0
    for condition, is_true, is_false in zip(conditions, truth.is_true, truth.is_false, strict=True):
        seen = {TRUE: is_true.any(), FALSE: is_false.any(), UNKNOWN: (~(is_true | is_false)).any()}
        for outcome in (outcome for outcome, is_seen in seen.items() if is_seen):
            assert is_possible([Demand(inline(plain(condition), segments), outcome)]), condition
            n_seen += 1
    assert n_seen > len(conditions)


# test


def test_the_examples_of_the_demo_hold(demo: Path) -> None:
    report = run_examples(demo)
    assert [result for result in report.results if not result.passed] == []
    assert len(report.results) >= 25


def test_an_example_that_fails_says_what_was_decided_and_why(policy: Path) -> None:
    change(
        policy, "engagement.yaml", "only_if: {field: is_vip, is: true}", "only_if: {field: size, is: large}"
    )
    change(
        policy,
        "examples.yaml",
        "first: bank-a-rko, before: bank-c-rko",
        "first: bank-c-rko, before: bank-a-rko",
    )
    change(policy, "examples.yaml", "by: legal_form", "by: vip-only")
    done = run("test", str(policy))
    assert done.exit_code == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["FAIL  unknown-stage-is-not-held-against-it", "FAIL  commission-orders-no-banks"]
    line = line_of(policy, "examples.yaml", "first: bank-c-rko, before: bank-a-rko")
    assert "dms is refused by legal_form (eligibility); expected: refused: dms, by: vip-only" in done.stdout
    assert f"expected: first: bank-c-rko, before: bank-a-rko ({policy}/examples.yaml:{line})" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(": 2 fail")


def test_the_outcome_of_examples_as_json(demo: Path) -> None:
    done = run("test", str(demo), "--json")
    assert done.exit_code == 0
    report = orjson.loads(done.stdout)
    assert (report["n_failed"], len(report["examples"])) == (0, report["n_examples"])
    first = report["examples"][0]
    assert first["passed"] is True
    assert "number" in first["decided"][0]


def test_examples_take_their_offers_from_data_where_there_is_no_catalogue(policy: Path, data: str) -> None:
    (policy / "catalogue.yaml").unlink()
    with pytest.raises(ConfigError, match="add it or give --data"):
        run_examples(policy)
    assert run("test", str(policy), "--data", data).exit_code == 0


def test_one_is_counted_as_one(policy: Path) -> None:
    (policy / "examples.yaml").write_text(
        "at: 2026-03-03T11:00:00+03:00\nclients: {shop: {}}\n"
        "examples:\n  - {id: a, client: shop, expect: [{refused: vpn, by: region}]}\n",
        encoding="utf-8",
    )
    assert ": 1 example, version " in str(run_examples(policy))
    assert str(run_examples(policy)).endswith(": 1 fails")


def test_a_policy_without_examples_has_nothing_to_test(policy: Path) -> None:
    (policy / "examples.yaml").unlink()
    with pytest.raises(ConfigError, match=r"has no examples\.yaml"):
        run_examples(policy)


# diff


@pytest.fixture(scope="module")
def result(demo: Path, data: str, tmp_path_factory: pytest.TempPathFactory) -> PolicyDiff:
    """Virtual PBX editions are taken from the list of micro companies."""
    after = Path(shutil.copytree(demo, tmp_path_factory.mktemp("after") / "policy"))
    rule = "  - {id: no-pbx-for-micro, stage: suitability, offers: {need_groups: [pbx]},\n"
    rule += "     never_if: {field: size, is: micro}}\n\nvolume_caps:\n"
    change(after, "engagement.yaml", "volume_caps:\n", rule)
    out = after.parent / "out"
    found = diff(demo, after, data, k=4, out=out)
    assert {path.name for path in out.iterdir()} == {
        "changed_clients.parquet",
        "changed_clients.csv",
        "offers.csv",
        "diff.json",
    }
    assert pl.read_parquet(out / "changed_clients.parquet").equals(found.changed)
    assert len(pl.read_csv(out / "changed_clients.csv")) == found.n_changed
    assert orjson.loads((out / "diff.json").read_bytes())["n_changed"] == found.n_changed
    return found


def test_a_diff_counts_the_clients_whose_list_changes(result: PolicyDiff) -> None:
    assert 0 < result.n_changed < result.n_clients
    assert result.n_changed == len(result.changed)
    assert result.changed.filter(pl.col("before") == pl.col("after")).is_empty()
    assert result.changed["before"].list.len().max() == 4


def test_a_diff_is_told_by_segment(result: PolicyDiff) -> None:
    for segment in ("stage", "size", "industry", "region"):
        parts = [part for part in result.segments if part.segment == segment]
        assert sum(part.n_clients for part in parts) == result.n_clients
        assert sum(part.n_changed for part in parts) == result.n_changed
    changed = {part.value: part.n_changed for part in result.segments if part.segment == "size"}
    assert {size for size, n_changed in changed.items() if n_changed} == {"micro"}


def test_a_diff_says_which_offers_gain_and_lose(result: PolicyDiff) -> None:
    moved = {offer.offer_id: offer.n_after - offer.n_before for offer in result.offers}
    assert min(moved, key=lambda name: moved[name]).startswith("vpbx-")
    assert max(moved.values()) > 0
    shown = result.changed.explode("after")["after"]
    new_editions = [
        name for name in shown.drop_nulls().to_list() if name in ("vpbx-start", "vpbx-pro", "vpbx-ent")
    ]
    assert new_editions == []


def test_a_diff_says_what_the_lists_are_worth(result: PolicyDiff) -> None:
    lost = result.value_before_minor - result.value_after_minor
    told = result.changed["value_before_minor"].sum() - result.changed["value_after_minor"].sum()
    assert lost == pytest.approx(told, abs=1.0)
    assert lost > 0


def test_the_worth_of_the_parts_is_that_of_the_whole(result: PolicyDiff) -> None:
    assert result.weight == "holder_share"
    for segment in ("stage", "size", "industry", "region"):
        parts = [part for part in result.segments if part.segment == segment]
        for name in ("value_before_minor", "value_after_minor"):
            total = sum(getattr(part, name) for part in parts)
            assert total == pytest.approx(getattr(result, name), abs=len(parts))
    unchanged = [part for part in result.segments if not part.n_changed]
    assert unchanged
    assert all(part.value_before_minor == part.value_after_minor for part in unchanged)


def test_a_list_is_worth_its_changes_by_the_quantities_of_the_client() -> None:
    """0.3 × 50 × 100 for the renewal, 0.2 × 4 × (500 − 200) for the upgrade, 0.1 × 40 for what is new."""
    offers = (
        Offer(OfferId("bank"), margin_minor=100),
        Offer(OfferId("mail"), margin_minor=200, upgrades_to=OfferId("mail-2")),
        Offer(OfferId("mail-2"), margin_minor=500),
        Offer(OfferId("site"), margin_minor=40),
        Offer(OfferId("unknown")),
    )
    spec = EngagementSpec.model_validate({"changes": {"renew": {"offers": ["bank"]}}})
    engine = Engine(CompiledCatalogue(offers), Policy(engagement=spec))
    now = datetime(2026, 5, 1, tzinfo=UTC)
    holdings = (
        Holding("h-1", OfferId("bank"), now, quantity=50, term_ends_on=now.date()),
        Holding("h-2", OfferId("mail"), now, quantity=4),
    )
    state = ClientState(ClientId("c"), holdings=holdings)
    probabilities = np.array([0.9, 0.9, 0.2, 0.1, 0.9])
    estimate = Estimate(probabilities, rank(probabilities, probabilities), Basis.PROFILE, None, True)
    shown, value = list_of(engine, Situation(state, now, (Ask("home", 5),)), estimate, engine.arbitration)
    assert {change for _, change in shown} == {Change.RENEW, Change.UPGRADE, Change.NEW}
    assert value == pytest.approx(0.3 * 50 * 100 + 0.2 * 4 * 300 + 0.1 * 40)


def test_the_same_policy_changes_nothing(demo: Path, data: str) -> None:
    same = diff(demo, demo, data)
    assert (same.n_changed, same.offers) == (0, ())
    assert same.value_before_minor == same.value_after_minor
    assert same.changed.is_empty()


def test_exploration_is_no_difference(demo: Path, policy: Path, data: str) -> None:
    """A draw by chance would move lists that the rules do not move."""
    (policy / "placements.yaml").write_text(
        "placements: [{id: home, k: 5, exploration_share: 1.0}, {id: banner}]\n", encoding="utf-8"
    )
    still = policy.parent / "still"
    shutil.copytree(policy, still)
    (still / "placements.yaml").write_text("placements: [{id: home, k: 5}, {id: banner}]\n", encoding="utf-8")
    assert diff(policy, still, data).n_changed == 0


def test_a_diff_on_the_terminal_and_as_json(demo: Path, data: str) -> None:
    done = run("diff", str(demo), str(demo), "--data", data, "--k", "2")
    assert done.exit_code == 0, done.stderr
    assert "clients whose top 2 of 'home' changes" in done.stdout
    assert "demo (" in done.stdout
    assert re.search(r"as of +\d{4}-\d\d-\d\d \d\d:\d\d \(Europe/Moscow\)", done.stdout)
    assert len(re.findall(r"margin a month.*\d ₽", done.stdout)) == 2
    assert done.stderr.startswith("diff: ")
    done = run("diff", str(demo), str(demo), "--data", data, "--json")
    answer = orjson.loads(done.stdout)
    assert (answer["share_changed"], answer["currency"]) == (0, "RUB")


def test_a_placement_that_one_of_the_policies_lacks_is_named(demo: Path, policy: Path, data: str) -> None:
    (policy / "placements.yaml").write_text("placements: [{id: start}, {id: banner}]\n", encoding="utf-8")
    for document in ("contact.yaml", "examples.yaml"):
        (policy / document).unlink()
    with pytest.raises(ConfigError, match="has no placement 'start'; choose one of home"):
        diff(demo, policy, data)


def test_what_check_refuses_diff_refuses_alike(demo: Path, policy: Path, data: str) -> None:
    change(policy, "engagement.yaml", "offers: [speech-an]", "offers: [speech-am]")
    with pytest.raises(ConfigError) as caught:
        diff(demo, policy, data)
    assert check(policy, data).faults == tuple(str(caught.value).splitlines())


def test_a_list_longer_than_the_longest_is_refused(demo: Path, data: str) -> None:
    with pytest.raises(ConfigError, match="999 is more than the max_k = 20 of placement 'home'"):
        diff(demo, demo, data, k=999)


def test_a_bundle_estimates_the_probabilities(demo: Path, data: str, tmp_path: Path) -> None:
    last = pl.read_parquet(Path(data) / "holdings.parquet")["recorded_at"].max()
    fit(data, "popularity", f"{last:%Y-%m-%d}", tmp_path / "bundles", seed=1)
    by_model = diff(demo, demo, data, bundle=tmp_path / "bundles")
    by_count = diff(demo, demo, data)
    assert by_model.n_changed == 0
    assert by_model.value_before_minor != by_count.value_before_minor

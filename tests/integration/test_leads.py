"""``recsys-train score --leads`` on an operator small enough to be reckoned by hand."""

from __future__ import annotations

import csv
import errno
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from scipy import sparse
from typer.testing import CliRunner

from recsys.bundle import Provenance, save_bundle
from recsys.data.read import read_dataset
from recsys.domain import Change, Language
from recsys.errors import ConfigError, DataError
from recsys.experiments.assignment import is_held_out
from recsys.experiments.experiment import Holdout
from recsys.models.base import ClientBatch, OfferIndex, TrainingSet
from recsys.models.calibration import Calibration
from recsys.models.popularity import Popularity
from recsys.models.recommender import Recommender
from training.cli import app
from training.pipelines.scoring import leads as module
from training.pipelines.scoring.lead_choice import LeadLimits
from training.pipelines.scoring.leads import Leads, find_leads
from training.pipelines.scoring.open_applications import open_applications

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
THEN = NOW - timedelta(days=400)
MARGINS = {"bank": 20_000, "cloud": 50_000, "crm": 30_000, "gold": 900_000, "pbx": 10_000, "unpriced": None}
"""Expected margin a month of each offer, in kopecks."""
POLICY = {
    "engagement.yaml": """
rules:
  - id: vip-only
    stage: eligibility
    offers: [gold]
    only_if: {field: is_vip, is: true}
volume_caps:
  - {id: bank-leads, offers: [bank], of: application, at_most: 3, per: day}
changes:
  renew: {offers: [crm], within_days: 30}
""",
    "contact.yaml": """
cool_downs: {not_now: 30}
""",
    "arbitration.yaml": """
change_probabilities: {renew: 0.25}
context_weights:
  - {id: never-cloud, when: {field: region, is: "77"}, offers: [cloud], weight: -100}
""",
    "placements.yaml": """
placements:
  - {id: home, k: 2, max_per_need_group: 1, slots: [own]}
  - {id: partners, k: 2, kinds: [partner]}
""",
}
CLIENTS: Mapping[str, Mapping[str, object]] = {
    "c-closed": {},
    "c-far": {"region": "77"},
    "c-name": {"name": '=HYPERLINK("x")', "tags": ["manager=m-1"]},
    "c-off": {"is_profiling_allowed": False},
    "c-open": {"tags": ["manager=m-1"]},
    "c-put-aside": {},
    "c-term": {"tags": ["manager=m-2"]},
    "c-vip": {"is_vip": True, "tags": ["manager=m-1"]},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leads")
    write_tables(folder / "data")
    save_models(folder / "bundles")
    (folder / "policy").mkdir()
    for name, text in POLICY.items():
        (folder / "policy" / name).write_text(text, encoding="utf-8")
    return folder


def write_tables(data: Path) -> None:
    data.mkdir()
    clients = [{"client_id": name, "legal_form": "llc", **told} for name, told in CLIENTS.items()]
    schema = {"name": pl.String, "region": pl.String, "tags": pl.List(pl.String)}
    schema |= {"is_profiling_allowed": pl.Boolean, "is_vip": pl.Boolean}
    known = {"recorded_at": THEN, "valid_from": THEN}
    frame = pl.DataFrame(clients, schema={"client_id": pl.String, "legal_form": pl.String, **schema})
    stamps = [pl.lit(moment).alias(name) for name, moment in known.items()]
    frame.with_columns(
        pl.col("is_profiling_allowed").fill_null(value=True), pl.col("is_vip").fill_null(value=False), *stamps
    ).write_parquet(data / "clients.parquet")
    titles = {"title_ru": "Услуга", "title_en": "Service", "recorded_at": THEN}
    offers = [
        {
            "offer_id": name,
            "kind": "partner" if name == "bank" else "own",
            "need_group": "all",
            "margin_minor": margin,
            **titles,
        }
        for name, margin in MARGINS.items()
    ]
    pl.DataFrame(offers).write_parquet(data / "offers.parquet")
    held = {"offer_id": "crm", "connected_at": THEN, "recorded_at": THEN, "quantity": 4, "unit": "seat"}
    ends_on = (NOW + timedelta(days=10)).date()
    pl.DataFrame(
        [{"holding_id": "h-1", "client_id": "c-term", "term_ends_on": ends_on, **held}]
    ).write_parquet(data / "holdings.parquet")
    events = [
        ("application", "c-open", "crm", 20, None),
        ("application", "c-closed", "crm", 20, None),
        ("activation", "c-closed", "crm", 19, None),
        ("dismissal", "c-put-aside", "crm", 5, "not_now"),
        ("application", "c-vip", "bank", 200, None),
        ("application", "stranger", "bank", 0, None),
    ]
    rows = [
        {
            "event_id": f"e-{number}",
            "event_type": kind,
            "client_id": client_id,
            "offer_id": offer_id,
            "occurred_at": NOW - timedelta(days=days, hours=1),
            "recorded_at": NOW - timedelta(days=days, hours=1),
            "reason": reason,
        }
        for number, (kind, client_id, offer_id, days, reason) in enumerate(events)
    ]
    pl.DataFrame(rows).write_parquet(data / "events.parquet")
    (data / "dataset.toml").write_text('name = "hand"\ncurrency = "RUB"\n', encoding="utf-8")


def save_models(folder: Path) -> None:
    """Popularity: the later an offer stands in the alphabet, the likelier it is."""
    index = OfferIndex(sorted(MARGINS))
    demand = np.zeros((100, len(index)))
    for column in range(len(index)):
        demand[: 5 + 5 * column, column] = 1
    matrix = sparse.csr_array(demand)
    training = TrainingSet(
        as_of=THEN,
        offers=index,
        clients=ClientBatch(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int64),
            tuple(() for _ in range(100)),
            len(index),
        ),
        demand=matrix,
    )
    rng = np.random.default_rng(1)
    line = Calibration(np.array([0.0, 1.0]), np.array([0.01, 0.5]))
    recommender = Recommender(Popularity().fit(training, rng), Popularity().fit(training, rng), line, line)
    digests = dict.fromkeys(("config_digest", "data_digest", "code_digest"), "0" * 64)
    provenance = Provenance(
        name="hand", created_at=THEN, as_of=THEN, horizon_days=30, seed=1, metrics={}, **digests
    )
    save_bundle(recommender, provenance, folder)


def leads_of(place: Path, out: Path, capacity: int = 100, **more: Any) -> Leads:
    limits = LeadLimits(capacity, more.pop("per_client", 1), more.pop("per_manager", None))
    given = {"as_of": NOW.isoformat(), "language": Language.EN, **more}
    return find_leads(str(place / "data"), place / "bundles", place / "policy", out, limits, **given)


def pairs(leads: Leads) -> list[tuple[str, str, str]]:
    return list(leads.rows.select("client_id", "offer_id", "change").iter_rows())


def test_the_best_pair_of_each_client_that_may_be_called(place: Path, tmp_path: Path) -> None:
    leads = leads_of(place, tmp_path)
    chance = dict(leads.rows.select("offer_id", "probability").iter_rows())
    assert pairs(leads) == [
        ("c-vip", "gold", "new"),
        ("c-term", "crm", "renew"),
        *[(client_id, "cloud", "new") for client_id in ("c-closed", "c-name", "c-put-aside")],
        ("c-far", "crm", "new"),
    ]
    values = leads.rows["expected_value_minor"].to_list()
    assert values == sorted(values, reverse=True)
    # four seats at stake, by the prior that the policy states
    term = leads.rows.row(1, named=True)
    assert (term["margin_minor"], term["expected_value_minor"]) == (4 * 30_000, 30_000)
    assert (term["probability_of"], leads.rows.row(0, named=True)["probability_of"]) == (
        "stated_prior",
        "adoption",
    )
    assert values[2] == round(chance["cloud"] * 50_000)
    assert abs(leads.value_minor - sum(values)) <= len(values) / 2
    assert leads.stated_value_minor == 30_000
    assert leads.clients_out == {"profiling_off": 1, "open_application": 1}
    assert (leads.n_clients, leads.n_clients_eligible, leads.n_leads) == (8, 6, 6)
    assert leads.currency == "RUB"


def test_a_random_list_is_worth_its_expectation(place: Path, tmp_path: Path) -> None:
    """By hand: leads with the model's P × mean over clients of the mean of their pairs with it."""
    found = leads_of(place, tmp_path, per_client=99).rows.filter(pl.col("change") == "new")
    chance = dict(found.select("offer_id", "probability").iter_rows())
    worth = {name: chance[name] * (MARGINS[name] or 0) for name in ("bank", "cloud", "crm", "gold", "pbx")}
    usual = [worth["bank"], worth["cloud"], worth["crm"], worth["pbx"]]
    said = [
        usual,  # c-closed
        [worth["bank"], worth["crm"], worth["pbx"]],  # c-far
        usual,  # c-name
        [worth["bank"], worth["cloud"], worth["pbx"]],  # c-put-aside
        [worth["bank"], worth["cloud"], worth["pbx"]],  # c-term, without the stated renewal
        [*usual, worth["gold"]],  # c-vip
    ]
    leads = leads_of(place, tmp_path, capacity=3)
    assert leads.n_pairs_eligible == sum(map(len, said)) + 1
    assert (leads.n_leads, leads.n_estimated) == (3, 2)
    expected = 2 * np.mean([np.mean(values) for values in said])
    assert leads.random_value_minor == pytest.approx(expected, abs=0.6)
    estimated = leads.value_minor - 30_000
    assert leads.times_random == pytest.approx(estimated / expected, rel=1e-3)


def test_stated_priors_alone_are_compared_with_nothing(place: Path, tmp_path: Path) -> None:
    leads = leads_of(place, tmp_path, changes=[Change.RENEW])
    assert leads.stated_value_minor == leads.value_minor == 30_000
    assert (leads.n_estimated, leads.times_random) == (0, None)


def test_capacity_takes_the_first_of_the_longer_list(place: Path, tmp_path: Path) -> None:
    assert pairs(leads_of(place, tmp_path, capacity=2)) == pairs(leads_of(place, tmp_path))[:2]


def test_more_leads_of_a_client_never_repeat_its_open_application(place: Path, tmp_path: Path) -> None:
    leads = leads_of(place, tmp_path, per_client=2)
    found = pairs(leads)
    of_open = [offer_id for client_id, offer_id, _ in found if client_id == "c-open"]
    assert of_open == ["cloud"]  # with the application it makes two
    assert leads.pairs_out["open_application"] == 1
    assert max(sum(client_id == name for client_id, _, _ in found) for name in CLIENTS) == 2


def test_a_manager_has_at_most_so_many(place: Path, tmp_path: Path) -> None:
    leads = leads_of(place, tmp_path, per_manager=1)
    assert leads.rows["account_manager"].drop_nulls().to_list() == ["m-1", "m-2"]
    assert "c-name" not in leads.rows["client_id"].to_list()
    assert leads.limited["per_manager"] >= 1


def test_a_limit_of_managers_says_whom_it_does_not_touch(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leads = leads_of(place, tmp_path, per_manager=1)
    n_nobodys = leads.rows["account_manager"].null_count()
    assert n_nobodys > 0
    words = f"--per-manager does not limit {n_nobodys} of the {leads.n_leads} leads"
    assert words in capsys.readouterr().err
    leads_of(place, tmp_path)
    assert "--per-manager" not in capsys.readouterr().err


def test_who_is_held_out_is_not_called(place: Path, tmp_path: Path) -> None:
    """Seen clients keep their side; of the others the hash decides, as in a server."""
    data = tmp_path / "data"
    shutil.copytree(place / "data", data)
    order = {"experiment_id": "holdout", "status": "running", "author": "anna", "recorded_at": THEN}
    said = [
        {**order, "number": number, "document": orjson.dumps({"share": share}).decode()}
        for number, share in enumerate((0.1, 0.5), start=1)
    ]
    pl.DataFrame(said).write_parquet(data / "experiments.parquet")
    by_hash = [name for name in CLIENTS if is_held_out(Holdout(share=0.5), name)]
    is_by_hash = {"c-vip": "c-vip" in by_hash, "c-far": "c-far" in by_hash}
    seen = {"c-vip": "held_out", "c-far": "treated"}
    assigned = [
        {"experiment_id": "holdout", "client_id": name, "unit_id": name, "arm": arm}
        for name, arm in seen.items()
    ]
    stamps = [pl.lit(THEN).alias(name) for name in ("assigned_at", "recorded_at")]
    pl.DataFrame(assigned).with_columns(*stamps).write_parquet(data / "assignments.parquet")
    ask = (str(data), place / "bundles", place / "policy", tmp_path / "out", LeadLimits(100))
    leads = find_leads(*ask, as_of=NOW.isoformat())
    held_out = ({*by_hash, "c-vip"} - {"c-far"}) - {"c-off"}
    assert is_by_hash != {"c-vip": True, "c-far": False}  # else their sides would prove nothing
    assert leads.clients_out["held_out"] == len(held_out)
    assert set(leads.rows["client_id"]) == set(CLIENTS) - held_out - {"c-off", "c-open"}
    said.append({**order, "number": 3, "document": '{"share": 0}'})
    pl.DataFrame(said).write_parquet(data / "experiments.parquet")
    assert "held_out" not in find_leads(*ask, as_of=NOW.isoformat()).clients_out


def test_a_prior_that_equals_the_probability_is_still_a_prior(place: Path, tmp_path: Path) -> None:
    chance = dict(leads_of(place, tmp_path).rows.select("offer_id", "probability").iter_rows())["cloud"]
    shutil.copytree(place / "policy", tmp_path / "policy")
    arbitration = tmp_path / "policy" / "arbitration.yaml"
    arbitration.write_text(POLICY["arbitration.yaml"].replace("0.25", repr(chance)), encoding="utf-8")
    engagement = tmp_path / "policy" / "engagement.yaml"
    engagement.write_text(POLICY["engagement.yaml"].replace("[crm]", "[cloud]"), encoding="utf-8")
    held = pl.read_parquet(place / "data" / "holdings.parquet").with_columns(offer_id=pl.lit("cloud"))
    shutil.copytree(place / "data", tmp_path / "data")
    held.write_parquet(tmp_path / "data" / "holdings.parquet")
    ask = (str(tmp_path / "data"), place / "bundles", tmp_path / "policy", tmp_path / "out", LeadLimits(9))
    (told,) = find_leads(*ask, as_of=NOW.isoformat(), changes=[Change.RENEW]).rows["probability_of"]
    assert told == "stated_prior"


def test_leads_that_cannot_be_written_leave_those_of_before(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = leads_of(place, tmp_path, capacity=1)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fill_the_disk(rows: pl.DataFrame, path: Path) -> None:
        path.write_text(f"rank\n{len(rows)}", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_csv", fill_the_disk)
    with pytest.raises(DataError, match=r"cannot be written: No space left on device"):
        leads_of(place, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert before.rows.equals(pl.read_parquet(tmp_path / "leads.parquet"))


def test_the_policy_decides_who_may_be_called_about_what(place: Path, tmp_path: Path) -> None:
    found = pairs(leads_of(place, tmp_path, per_client=99))
    assert [client_id for client_id, offer_id, _ in found if offer_id == "gold"] == ["c-vip"]
    assert ("c-put-aside", "crm", "new") not in found  # put aside five days ago
    assert ("c-far", "cloud", "new") not in found  # a weight of −100 says never
    assert "unpriced" not in {offer_id for _, offer_id, _ in found}
    # what bounds a list bounds no lead: one per need group, own offers only in the first slot
    assert sum(client_id == "c-name" for client_id, _, _ in found) > 2


def test_what_is_left_of_a_volume_cap_is_the_most_leads(place: Path, tmp_path: Path) -> None:
    leads = leads_of(place, tmp_path, placement="partners")
    # three applications a day, and one was made an hour ago
    assert [offer_id for _, offer_id, _ in pairs(leads)] == ["bank", "bank"]
    assert leads.limited["bank-leads"] == leads.n_pairs_eligible - 2


def test_only_the_changes_that_were_asked_for(place: Path, tmp_path: Path) -> None:
    leads = leads_of(place, tmp_path, changes=[Change.RENEW])
    assert pairs(leads) == [("c-term", "crm", "renew")]
    assert leads.pairs_out["other_change"] > 0
    assert leads.changes == {"renew": 1}


def test_nobody_to_call_is_an_empty_list(place: Path, tmp_path: Path) -> None:
    leads = leads_of(place, tmp_path, changes=[Change.RETAIN])
    assert (leads.n_leads, leads.value_minor, leads.random_value_minor) == (0, 0, 0)
    assert (tmp_path / "leads.csv").read_text(encoding="utf-8-sig").count("\n") == 1
    assert leads.clients_out == {"other_change": 6, "profiling_off": 1, "open_application": 1}
    assert not {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}


def test_the_files_say_the_same_for_programs_and_for_people(place: Path, tmp_path: Path) -> None:
    leads = leads_of(place, tmp_path, language=Language.RU)
    assert pl.read_parquet(tmp_path / "leads.parquet").equals(leads.rows)
    with (tmp_path / "leads.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["client_id"] for row in rows] == leads.rows["client_id"].to_list()
    term = next(row for row in rows if row["client_id"] == "c-term")
    assert (term["margin"], term["expected_value"], term["currency"]) == ("1200.00", "300.00", "RUB")
    assert (term["quantity"], term["unit"]) == ("4", "seat")
    for row in rows:
        worth = float(row["probability"]) * float(row["margin"])
        assert float(row["expected_value"]) == pytest.approx(worth, abs=0.0051)
    chance = dict(leads.rows.select("rank", "probability").iter_rows())
    assert all(float(row["probability"]) == pytest.approx(chance[int(row["rank"])], rel=1e-8) for row in rows)
    assert "12 марта" in term["reasons"]
    (named,) = [row for row in rows if row["client_id"] == "c-name"]
    assert named["client_name"] == '\'=HYPERLINK("x")'  # a text, not a formula
    summary = orjson.loads((tmp_path / "leads.json").read_bytes())
    assert summary["n_leads"] == len(rows)
    command = orjson.loads((tmp_path / "run.json").read_bytes())["command"]
    for words in ("--leads --placement home", "--capacity 100 --per-client 1", "--as-of 2026-03-02T"):
        assert words in command


def test_leads_need_money(place: Path, tmp_path: Path) -> None:
    for name in ("clients", "offers", "holdings"):
        frame = pl.read_parquet(place / "data" / f"{name}.parquet")
        frame.drop("margin_minor", strict=False).write_parquet(tmp_path / f"{name}.parquet")
    ask = (str(tmp_path), place / "bundles", place / "policy", tmp_path / "out", LeadLimits(5))
    with pytest.raises(
        ConfigError, match=r"has no currency in dataset\.toml, and leads are ordered by money"
    ):
        find_leads(*ask)
    (tmp_path / "dataset.toml").write_text('currency = "RUB"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="has no margin_minor in offers"):
        find_leads(*ask)


def test_the_command_says_how_many_and_why_not(place: Path, tmp_path: Path) -> None:
    given = ["--data", place / "data", "--bundle", place / "bundles", "--policy", place / "policy"]
    words = ["score", *map(str, given), "--out", str(tmp_path), "--leads", "--capacity", "5"]
    done = CliRunner().invoke(app, [*words, "--as-of", NOW.isoformat()])
    assert done.exit_code == 0, done.stderr
    texts = ("of a random list of as many", "profiling is switched off", "c-vip", "policy's own priors")
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if not line.startswith("leads: "))
    for text in (*texts, "an application is open", "put aside: not now", "a month,"):
        assert text in done.stdout
    done = CliRunner().invoke(app, [*words, "--as-of", NOW.isoformat(), "--json"])
    assert orjson.loads(done.stdout)["capacity"] == 5


def test_an_application_is_open_until_something_follows(place: Path) -> None:
    dataset = read_dataset(place / "data")
    assert open_applications(dataset, NOW) == {"c-open": {"crm"}, "stranger": {"bank"}}
    before = NOW - timedelta(days=19, hours=2)
    assert open_applications(dataset, before)["c-closed"] == {"crm"}
    assert open_applications(dataset, NOW + timedelta(days=90)) == {}

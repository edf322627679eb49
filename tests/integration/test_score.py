"""``recsys-train score``: the decisions that a server would take, for everybody at once."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
import pytest
from click.testing import Result
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from recsys.bundle import load_bundle
from recsys.domain import Language
from recsys.errors import BundleError, ConfigError, DataError
from recsys.models.chance import MIN_COHORT
from recsys.tables import DECISION_ITEMS, DECISIONS
from recsys.texts import REASONS, reason_text
from serving.app import create_app
from serving.ports import Role
from serving.security.keys import new_key
from serving.services.load import load
from serving.settings import Settings
from serving.storage.memory import MemoryStore
from training.cli import app, main
from training.pipelines.fit import fit
from training.pipelines.scoring.score import score
from training.pipelines.scoring.sources import open_sources
from training.pipelines.worlds.simulate import simulate

PLACEMENTS = ("home", "partners")
NO_PROFILING = "c0000007"


@dataclass(frozen=True)
class Operator:
    """A small made-up operator.

    Attributes:
        data: Its tables, with the demo's policy beside them.
        bundles: A bundle of it.
        as_of: When the last row became known.
    """

    data: Path
    bundles: Path
    as_of: datetime


class StandingClock:
    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def now(self) -> datetime:
        return self._moment


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory, root_dir: Path) -> Operator:
    folder, demo = tmp_path_factory.mktemp("score"), root_dir / "datasets" / "demo"
    data = folder / "data"
    simulate(demo, demo / "worlds" / "small.toml", data, n_clients=80, seed=3)
    clients = pl.read_parquet(data / "clients.parquet")
    is_allowed = pl.col("is_profiling_allowed") & (pl.col("client_id") != NO_PROFILING)
    clients.with_columns(is_allowed.alias("is_profiling_allowed")).write_parquet(data / "clients.parquet")
    as_of = last_known(data)
    # a server reads what it was told: figures that came later were not told yet
    months = pl.read_parquet(data / "client_months.parquet")
    months.filter(pl.col("known_at") <= as_of).write_parquet(data / "client_months.parquet")
    fit(str(data), "ease", as_of.isoformat(), folder / "bundles", seed=1)
    return Operator(data, folder / "bundles", as_of)


def last_known(data: Path) -> datetime:
    frames = [pl.read_parquet(path) for path in data.glob("*.parquet")]
    last = max(frame["recorded_at"].max() for frame in frames if "recorded_at" in frame.columns)
    assert isinstance(last, datetime)
    return last


@pytest.fixture(scope="module")
def scored(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    decide(operator, out)
    return out


def decide(operator: Operator, out: Path, **more: Any) -> None:
    asked = {"as_of": operator.as_of.isoformat(), "placements": PLACEMENTS, "language": Language.EN, **more}
    score(str(operator.data), operator.bundles, operator.data, out, **asked)


def served(operator: Operator, client_ids: list[str]) -> tuple[dict[str, Any], MemoryStore]:
    """What a server answers to these clients at that moment, and its log."""
    store = MemoryStore()
    load(store, operator.data, operator.as_of)
    key, record = new_key(Role.PORTAL, operator.as_of)
    store.add_key(record)
    settings = Settings(bundles_dir=operator.bundles, time_zone="Europe/Moscow")
    application = create_app(settings, store, StandingClock(operator.as_of))
    answers: dict[str, Any] = {}

    async def ask() -> None:
        async with (
            application.router.lifespan_context(application),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(application),
                base_url="http://127.0.0.1",
                headers={"Authorization": f"Bearer {key}"},
            ) as portal,
        ):
            for client_id in client_ids:
                lists = [{"placement_id": placement_id} for placement_id in PLACEMENTS]
                question = {"client_id": client_id, "placements": lists, "language": "en"}
                response = await portal.post("/v1/recommendations", json=question)
                assert response.status_code == 200, response.text
                answers[client_id] = response.json()

    asyncio.run(ask())
    return answers, store


def test_a_client_gets_what_a_server_answers(operator: Operator, scored: Path) -> None:
    decisions = {
        (row["client_id"], row["placement_id"]): row
        for row in pl.read_parquet(scored / "decisions.parquet").iter_rows(named=True)
    }
    lists = pl.read_parquet(scored / "readable" / "lists.parquet")
    slots = lists.partition_by("client_id", "placement_id", as_dict=True)
    answers, store = served(operator, sorted({client_id for client_id, _ in decisions}))
    logged = {row["decision_id"]: row for row in store.read_rows("decisions")}
    assert NO_PROFILING in answers
    assert len(lists) > 500
    for client_id, answer in answers.items():
        for shown in answer["placements"]:
            at = (client_id, shown["placement_id"])
            ours = slots[at].to_dicts() if at in slots else []
            assert [spoken(row) for row in ours] == [told(item) for item in shown["items"]]
            assert_logged_alike(decisions[at], logged[shown["decision_id"]])


def spoken(row: Mapping[str, Any]) -> tuple[object, ...]:
    price = None if row["price_minor"] is None else (row["price_minor"], row["price_period"])
    chance = pytest.approx(row["logging_probability"], rel=1e-9)
    probability = None if row["probability"] is None else pytest.approx(row["probability"], abs=1e-8)
    names = (row["slot"], row["offer_id"], row["change"], row["title"])
    return (*names, row["reasons"], price, chance, probability)


def told(item: Mapping[str, Any]) -> tuple[object, ...]:
    price = item["price"] and (item["price"]["amount_minor"], item["price"]["period"])
    texts = [reason["text"] for reason in item["reasons"]]
    names = (item["rank"], item["offer_id"], item["change"], item["title"])
    return (*names, texts, price, item["logging_probability"], item["adoption_probability"])


def assert_logged_alike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """The row of the log says what the server's says, but for ids and versions of what a server stores."""
    same = ("occurred_at", "seed", "policy_version", "bundle_version", "is_personalised", "degraded", "basis")
    assert [ours[name] for name in same] == [theirs[name] for name in same]
    candidates, logged = orjson.loads(ours["candidates"]), orjson.loads(theirs["candidates"])
    assert list(candidates) == list(logged)
    for name, values in logged.items():
        is_number = name in ("priority", "probability", "context", "value", "levers")
        assert candidates[name] == (pytest.approx(values, rel=1e-5) if is_number else values)
    requests = [{**orjson.loads(row["request"]), "above": None} for row in (ours, theirs)]
    assert requests[0] == requests[1]


def test_the_rows_are_those_of_the_contract(operator: Operator, scored: Path, tmp_path: Path) -> None:
    decisions = pl.read_parquet(scored / "decisions.parquet")
    items = pl.read_parquet(scored / "decision_items.parquet")
    assert tuple(decisions.columns) == DECISIONS.column_names
    assert tuple(items.columns) == DECISION_ITEMS.column_names
    assert decisions["client_id"].n_unique() * len(PLACEMENTS) == len(decisions)
    # beside the clients and the offers they are a dataset
    folder = tmp_path / "whole"
    folder.mkdir()
    for name in ("clients", "offers", "holdings"):
        shutil.copy(operator.data / f"{name}.parquet", folder)
    for name in ("decisions", "decision_items"):
        shutil.copy(scored / f"{name}.parquet", folder)
    done = CliRunner().invoke(app, ["validate", str(folder)])
    assert done.exit_code == 0, done.stdout


def test_of_what_enough_clients_hold_more_is_said_than_the_price(root_dir: Path, tmp_path: Path) -> None:
    demo, data = root_dir / "datasets" / "demo", tmp_path / "data"
    simulate(demo, demo / "worlds" / "typical.toml", data, n_clients=400, seed=3)
    operator = Operator(data, tmp_path / "bundles", last_known(data))
    fitted = fit(str(data), "popularity", operator.as_of.isoformat(), operator.bundles, seed=1)
    decide(operator, tmp_path)
    popularity = load_bundle(fitted.path).recommender.fallback
    counted = zip(popularity.offers.offer_ids, popularity.to_arrays()["n_holders"], strict=True)
    held_by_enough = {offer_id for offer_id, n_holders in counted if n_holders >= MIN_COHORT}
    prices = {texts["en"] for code, texts in REASONS.items() if code.startswith("price_")}
    items = pl.read_parquet(tmp_path / "readable" / "lists.parquet").select("offer_id", "reasons").rows()
    assert any(reason_text("chosen", "en") in reasons for _, reasons in items)
    assert held_by_enough.isdisjoint(offer_id for offer_id, reasons in items if prices.issuperset(reasons))


def test_the_chunk_changes_nothing(operator: Operator, scored: Path, tmp_path: Path) -> None:
    decide(operator, tmp_path, n_at_once=17)
    for name in ("decisions.parquet", "decision_items.parquet", "readable/lists.parquet"):
        once, by_parts = pl.read_parquet(scored / name), pl.read_parquet(tmp_path / name)
        if name == "decisions.parquet":  # a sum may differ in its last bit by the rows beside it
            once, by_parts = once.drop("candidates"), by_parts.drop("candidates")
        assert_frame_equal(once, by_parts)


def test_the_run_says_what_it_was(operator: Operator, scored: Path) -> None:
    summary = orjson.loads((scored / "score.json").read_bytes())
    decisions = pl.read_parquet(scored / "decisions.parquet")
    items = pl.read_parquet(scored / "decision_items.parquet")
    assert (summary["n_clients"], summary["n_lists"]) == (decisions["client_id"].n_unique(), len(decisions))
    assert summary["n_items"] == len(items)
    assert summary["n_empty"] == len(decisions) - items["decision_id"].n_unique()
    assert summary["placements"] == list(PLACEMENTS)
    assert list(summary["empty"]) == list(PLACEMENTS)
    assert summary["n_empty"] == sum(summary["empty"].values())
    assert 1 <= summary["n_profiling_off"] <= summary["n_not_personalised"]
    assert summary["as_of"].endswith("+03:00")
    run = orjson.loads((scored / "run.json").read_bytes())
    for words in ("recsys-train score --data", "--placement home,partners", "--language en", "--as-of 20"):
        assert words in run["command"]
    assert run["config_digest"] == summary["policy"] == decisions["policy_version"][0]
    assert {path.name for path in scored.iterdir()} == {
        "decisions.parquet",
        "decision_items.parquet",
        "readable",
        "run.json",
        "score.json",
    }


def test_a_run_that_is_ended_from_outside_leaves_nothing_half_written(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_after_a_part(parts: object, frames: object) -> None:
        assert [path.name[:7] for path in out.iterdir()] == [".parts-"]
        signal.raise_signal(signal.SIGTERM)

    out = tmp_path / "out"
    monkeypatch.setattr("training.pipelines.scoring.score._Parts.write", end_after_a_part)
    asked = ["--data", operator.data, "--bundle", operator.bundles, "--policy", operator.data, "--out", out]
    monkeypatch.setattr("sys.argv", ["recsys-train", "score", *map(str, asked)])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 128 + signal.SIGTERM
    assert list(out.iterdir()) == []


def test_a_used_up_volume_cap_refuses_as_it_does_online(operator: Operator, tmp_path: Path) -> None:
    policy = Path(shutil.copytree(operator.data, tmp_path / "policy", ignore=only_documents))
    text = (policy / "engagement.yaml").read_text(encoding="utf-8")
    cap = "\nvolume_caps:\n  - {id: one-lead, of: application, at_most: 1, per: month}\n"
    (policy / "engagement.yaml").write_text(text.replace("\nvolume_caps:\n", cap), encoding="utf-8")
    after = open_sources(str(operator.data), operator.bundles, policy, operator.as_of.isoformat())
    assert after.restrictions.used_up_caps == {"one-lead"}


def only_documents(_: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".yaml")]


def run(operator: Operator, out: Path, *words: str) -> Result:
    given = ["--data", str(operator.data), "--bundle", str(operator.bundles), "--policy", str(operator.data)]
    return CliRunner().invoke(app, ["score", *given, "--out", str(out), *words])


def test_the_command_prints_a_table_or_one_object(operator: Operator, tmp_path: Path) -> None:
    done = run(operator, tmp_path / "out", "--placement", "banner", "--k", "2", "--json")
    assert done.exit_code == 0, done.stderr
    summary = orjson.loads(done.stdout)
    assert summary["placements"] == ["banner"]
    assert summary["n_items"] > summary["n_clients"]
    assert "warning" not in done.stderr
    done = run(operator, tmp_path / "late", "--placement", "banner", "--as-of", "2031-01-01")
    assert done.exit_code == 0, done.stderr
    assert "the bundle knows until" in done.stderr
    assert done.stdout.index("lists.parquet") < done.stdout.index("of these, empty on banner")
    assert "2031-01-01 00:00 (Europe/Moscow)" in done.stdout
    assert "clients with profiling switched off" in done.stdout


def test_a_lead_is_a_candidate_of_the_list_that_a_server_would_draw(
    operator: Operator, scored: Path, tmp_path: Path
) -> None:
    as_of = operator.as_of.isoformat()
    done = run(operator, tmp_path, "--leads", "--capacity", "500", "--per-client", "30", "--as-of", as_of)
    assert done.exit_code == 0, done.stderr
    decisions = pl.read_parquet(scored / "decisions.parquet").filter(pl.col("placement_id") == "home")
    candidates = dict(decisions.select("client_id", "candidates").iter_rows())
    leads = pl.read_parquet(tmp_path / "leads.parquet")
    assert len(leads) == 500
    for client_id, *pair in leads.select("client_id", "offer_id", "change").iter_rows():
        found = orjson.loads(candidates[client_id])
        assert tuple(pair) in zip(found["offer_id"], found["change"], strict=True)
    assert NO_PROFILING not in leads["client_id"]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--placement", "hom"], "has no placement 'hom'; choose one of home, partners, banner"),
        (["--placement", "home,home"], "--placement: home, home names one twice; name each once"),
        (["--k", "21"], "--k: 21 is more than the max_k = 20 of placement 'home'"),
        (["--as-of", "1999-01-01"], "has no clients at 1998-12-31T21:00:00+00:00; choose a later --as-of"),
        (["--as-of", "soon"], "'soon' is no day"),
        (["--bundle", "nowhere"], "nowhere"),
        (["--policy", "nowhere"], "nowhere: there is no such folder; name one with a policy"),
        (
            ["--leads", "--capacity", "5", "--placement", "home,banner"],
            "home,banner: --leads takes one placement",
        ),
        (["--as-of", "2026-01-01"], "--as-of 2026-01-01: the bundle knows what was recorded until 20"),
        (["--leads", "--capacity", "5", "--as-of", "2026-01-01"], "fit an earlier one, or choose a later"),
    ],
)
def test_a_wrong_request_is_one_line(
    operator: Operator, tmp_path: Path, words: list[str], fault: str
) -> None:
    done = run(operator, tmp_path / "out", *words)
    assert isinstance(done.exception, ConfigError | DataError | BundleError)
    assert fault in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--leads"],
        ["--capacity", "5"],
        ["--per-client", "2"],
        ["--leads", "--capacity", "5", "--k", "2"],
        ["--leads", "--capacity", "5", "--changes", "gift"],
        ["--language", "de"],
    ],
)
def test_a_wrong_use_is_told_as_such(operator: Operator, tmp_path: Path, words: list[str]) -> None:
    assert run(operator, tmp_path / "out", *words).exit_code == 2

"""``recsys-serve bundle``: the life of a bundle from the terminal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recsys.bundle import FORMAT_VERSION, MANIFEST
from serving.cli import main
from serving.orders import ShadowDecision
from serving.storage.sql import SqlStore

THEN = datetime(2026, 1, 1, tzinfo=UTC)
OFFERS = ("crm", "disk", "mail")
NewBundle = Callable[..., str]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bundles(tmp_path: Path, new_sqlite: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> Path:
    url, folder = new_sqlite(tmp_path / "store.db"), tmp_path / "bundles"
    store = SqlStore(url)
    store.upsert_rows(
        "offers", [{"offer_id": each, "kind": "own", "recorded_at": THEN} for each in OFFERS], THEN
    )
    store.close()
    folder.mkdir()
    monkeypatch.setenv("RECSYS_DATABASE_URL", url)
    monkeypatch.setenv("RECSYS_BUNDLES_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["recsys-serve", "bundle", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_a_bundle_goes_its_way_and_back(bundles: Path, new_bundle: NewBundle, run: Run) -> None:
    first = new_bundle(bundles, OFFERS, "crm", metrics={"ndcg_at_10": 0.4})
    worse = new_bundle(bundles, OFFERS, "mail", metrics={"ndcg_at_10": 0.2}, name="worse")
    assert "newest of the folder is served" in run("list")[2]
    assert run("publish", first, "--reason", "fitted today")[:2] == (0, f"{first}\n")
    code, _, err = run("publish", first)
    assert (code, "published already" in err) == (1, True)
    assert run("publish", str(bundles / worse))[0] == 0
    assert run("promote", first[:8])[0] == 0
    code, _, err = run("promote", worse)
    assert code == 1
    assert "ndcg_at_10 0.2 against 0.4" in err
    code, out, err = run("promote", worse, "--override", "prices were broken", "--json")
    said = json.loads(out)
    assert "overridden by command line: prices were broken" in said["judgement"]
    assert said["warnings"]
    assert "warning: " in err
    assert run("pin", "--reason", "the sale")[0] == 0
    assert "the sale" in run("rollback")[2]
    assert run("unpin")[0] == 0
    assert run("rollback", "--reason", "complaints")[:2] == (0, f"{first}\n")
    listed = json.loads(run("list", "--json")[1])
    assert (listed["live"], listed["before"], listed["pinned_by"]) == (first, None, None)
    assert [(each["version"], each["status"]) for each in listed["bundles"]] == [
        (first, "live"),
        (worse, "retired"),
    ]
    out = run("list")[1]
    assert f"{first}: live since " in out
    assert f"{worse}: retired since " in out
    assert f"gave way to {first} · complaints" in " ".join(out.split())


def test_a_status_is_told_with_the_order_that_gave_it(
    bundles: Path, new_bundle: NewBundle, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    version = new_bundle(bundles, OFFERS, "crm")
    run("publish", version)
    code, _, err = run("promote", version, "--shadow")
    assert (code, "it is compared with itself" in err) == (0, True)
    run("promote", version, "--reason", "fitted on the year's end, with " + "many words " * 20)
    run("pin", "--reason", "the sale")
    out = run("list")[1]
    told, _, pinned = out.partition("  pinned since ")
    assert "fitted on the year's end" in told
    assert "the sale" in pinned
    assert "the sale" not in told
    assert max(map(len, out.splitlines())) <= 80
    [listed] = json.loads(run("list", "--json")[1])["bundles"]
    assert (listed["given"]["action"], listed["last"]["action"]) == ("promote", "pin")
    run("unpin")
    assert "fitted on the year's end" in run("list")[1]
    second = new_bundle(bundles, OFFERS, "mail", name="second")
    run("publish", second)
    assert "compared with itself" not in run("promote", second, "--shadow")[2], "another one is live"


def test_what_is_said_of_one(bundles: Path, new_bundle: NewBundle, run: Run, tmp_path: Path) -> None:
    version = new_bundle(bundles, OFFERS, "crm", metrics={"ndcg_at_10": 0.4})
    run("publish", version)
    assert run("promote", version, "--shadow")[0] == 0
    store = SqlStore(f"sqlite:///{tmp_path / 'store.db'}")
    kept = ShadowDecision("d1", version, "old-1", "home", "micro", THEN, THEN, 4, 1, 3, 0.5, 0.01)
    store.put_shadow_decisions([kept])
    store.close()
    out = run("show", version)[1]
    assert f"{version}: shadow" in out
    assert "ndcg_at_10 0.4" in out
    assert "in shadow, against old-1:" in out
    assert "all: 1 decisions, overlap 75%, rank correlation 0.50, probability +0.0100" in out
    shutil.rmtree(bundles / version)
    told = json.loads(run("show", version, "--json")[1])
    assert "there is no bundle" in told["fault"]
    assert told["shadow"]["overall"]["mean_overlap"] == 0.75
    assert [order["action"] for order in told["orders"]] == ["publish", "shadow"]


def test_a_bundle_of_the_format_before_is_to_be_fitted_again(
    bundles: Path, new_bundle: NewBundle, run: Run
) -> None:
    version = new_bundle(bundles, OFFERS, "crm")
    run("publish", version)
    path = bundles / version / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": FORMAT_VERSION - 1}))
    for words in (("publish", version), ("promote", version)):
        code, _, err = run(*words)
        assert (code, err.count("\n")) == (1, 1)
        assert (
            f"has format version {FORMAT_VERSION - 1}, this program reads {FORMAT_VERSION}: fit again" in err
        )
    assert "fit again" in json.loads(run("show", version, "--json")[1])["fault"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("publish", "nothing"), "there is no bundle at"),
        (("promote", "nothing"), "unknown bundle 'nothing'"),
        (("promote", "x", "--shadow", "--override", "why"), "leave them out with --shadow"),
        (("promote", "x", "--max-loss", "3"), "name it with --offpolicy RUN_DIR"),
        (("promote", "x", "--offpolicy", "nowhere"), "cannot be read"),
        (("rollback",), "no bundle is live in the registry"),
        (("pin",), "promote one before you pin it"),
        (("unpin",), "no bundle is pinned"),
        (("retire", "nothing"), "unknown bundle 'nothing'"),
        (("show", "nothing"), "unknown bundle 'nothing'"),
    ],
)
@pytest.mark.usefixtures("bundles")
def test_what_cannot_be_is_one_line(run: Run, words: tuple[str, ...], told: str) -> None:
    code, _, err = run(*words)
    assert code == 1
    assert told in err
    assert err.count("\n") == 1


def test_without_a_folder_the_cure_is_told(bundles: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECSYS_BUNDLES_DIR")
    assert "RECSYS_BUNDLES_DIR" in run("publish", "some")[2]
    assert run("rollback", "--bundles", str(bundles))[0] == 1

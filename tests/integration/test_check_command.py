"""`recsys-serve check`: one line for each thing a server needs, and what to do where it lacks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recsys.decision.policy.policy import version_of
from serving.cli import app
from serving.commands.check import console_fault
from serving.orders import PolicyVersion
from serving.ports import Role
from serving.security.keys import new_key
from serving.services import soundness
from serving.services.soundness import Outcome, check_all
from serving.settings import Settings
from serving.storage.sql import SqlStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
THEN = datetime(2026, 2, 20, tzinfo=UTC)
SINGLE_SIGN_ON = {
    "public_url": "https://recsys.example",
    "oidc_issuer": "https://id.example",
    "oidc_client_id": "recsys",
    "oidc_roles": "admins=admin",
}
POLICY = {"placements.yaml": "placements: [{id: home, k: 2}]\n"}


class Place:
    """A folder in which everything is as it should be."""

    def __init__(self, folder: Path, new_sqlite: Callable[[Path], str]) -> None:
        self.folder = folder
        self.file = folder / "operator.db"
        new_sqlite(self.file)
        (folder / "bundles").mkdir()
        with_store = self.store()
        with_store.add_key(new_key(Role.PORTAL, THEN)[1])
        with_store.put_policy(PolicyVersion(version_of(POLICY), POLICY, THEN, THEN, "test"))
        with_store.put_documents({"dataset.toml": 'time_zone = "Europe/Moscow"\n'})
        with_store.upsert_rows("offers", [{"offer_id": "crm", "kind": "own", "recorded_at": THEN}], THEN)
        with_store.close()

    def store(self) -> SqlStore:
        return SqlStore(f"sqlite:///{self.file}")

    def settings(self, **more: Any) -> Settings:
        return Settings(
            **{
                "database_url": f"sqlite:///{self.file}",
                "bundles_dir": self.folder / "bundles",
                "journal_dir": self.folder / "journal",
                "time_zone": "Europe/Moscow",
                **more,
            }
        )

    def findings(
        self, environment: dict[str, str] | None = None, now: datetime = NOW, **more: Any
    ) -> dict[str, tuple[Outcome, str]]:
        """Outcome and line of each check; the worst where one tells several."""
        store = SqlStore(str(more.get("database_url", f"sqlite:///{self.file}")))
        file = Path(store.place.partition("///")[2]) if store.is_embedded else None
        try:
            settings = self.settings(**more)
            found = check_all(settings, environment or {}, store, file, now, console_fault(settings))
        finally:
            store.close()
        assert all(bool(each.cure) == (each.outcome is not Outcome.OK) for each in found)
        order = [Outcome.OK, Outcome.WARN, Outcome.FAIL]
        ranked = sorted(found, key=lambda each: order.index(each.outcome))
        return {each.name: (each.outcome, f"{each.text} {each.cure}") for each in ranked}


@pytest.fixture
def place(tmp_path: Path, new_sqlite: Callable[[Path], str]) -> Place:
    return Place(tmp_path, new_sqlite)


@pytest.fixture(autouse=True)
def _roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this machine's disk is full is not what is tested."""
    monkeypatch.setattr(soundness, "_BYTES_NEEDED", 0)
    monkeypatch.setattr(soundness, "_BYTES_WANTED", 0)


def test_a_sound_place_lacks_models_alone(place: Place) -> None:
    found = place.findings()
    assert {name for name, (outcome, _) in found.items() if outcome is not Outcome.OK} == {"bundle"}
    assert {"settings", "database", "keys", "policy", "time zone", "clock", "journal", "database disk"} < set(
        found
    )


def test_a_variable_that_nobody_reads_is_told_with_the_nearest(place: Place) -> None:
    outcome, line = place.findings({"RECSYS_WORKER": "2", "PATH": "x"})["settings"]
    assert outcome is Outcome.WARN
    assert "did you mean RECSYS_WORKERS?" in line


def test_too_many_workers(place: Place) -> None:
    assert place.findings(workers=64)["workers"][0] is Outcome.WARN


def test_a_database_that_does_not_answer(place: Place) -> None:
    outcome, line = place.findings(database_url="postgresql://nobody@127.0.0.1:9/none")["database"]
    assert outcome is Outcome.FAIL
    assert "RECSYS_DATABASE_URL" in line


def test_a_database_that_is_not_there_yet_is_made_by_the_server(place: Place, tmp_path: Path) -> None:
    found = place.findings(database_url=f"sqlite:///{tmp_path / 'later.db'}")
    assert found["database"][0] is Outcome.WARN
    assert not (tmp_path / "later.db").exists()


def test_a_database_of_another_schema(place: Place, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    assert place.findings(database_url=f"sqlite:///{tmp_path / 'empty.db'}")["database"][0] is Outcome.FAIL


def test_no_key_that_may_ask(place: Place) -> None:
    store = place.store()
    store.revoke_key(store.keys()[0].key_id, NOW)
    store.add_key(new_key(Role.DUTY, NOW)[1])
    store.close()
    assert place.findings()["keys"][0] is Outcome.WARN


@pytest.mark.parametrize(
    ("what", "outcome"), [("none", Outcome.WARN), ("gone", Outcome.FAIL), ("broken", Outcome.WARN)]
)
def test_models_that_cannot_be_had(place: Place, what: str, outcome: Outcome) -> None:
    folder = place.folder / "bundles"
    if what == "gone":
        folder.rmdir()
    elif what == "broken":
        (folder / "b").mkdir()
        (folder / "b" / "manifest.json").write_text("{")
    found = place.findings(bundles_dir=None) if what == "none" else place.findings()
    assert found["bundle"][0] is outcome


@pytest.mark.parametrize("has_older", [True, False])
def test_a_policy_that_this_program_cannot_read(place: Place, has_older: bool) -> None:
    documents = {"placements.yaml": "placements: [{id: home, k: 2, colour: red}]\n"}
    store = place.store()
    store.put_policy(PolicyVersion(version_of(documents), documents, NOW, NOW, "later"))
    if not has_older:
        for policy in store.policies()[:1]:
            store.put_policy(
                PolicyVersion(
                    policy.version, policy.documents, policy.effective_at, NOW, "x", is_withdrawal=True
                )
            )
    store.close()
    assert place.findings()["policy"][0] is (Outcome.WARN if has_older else Outcome.FAIL)


def test_no_policy_at_all(place: Place, tmp_path: Path, new_sqlite: Callable[[Path], str]) -> None:
    found = place.findings(database_url=new_sqlite(tmp_path / "bare.db"))
    assert found["policy"][0] is found["data"][0] is found["keys"][0] is Outcome.WARN


def test_days_that_begin_at_other_midnights(place: Place) -> None:
    outcome, line = place.findings(time_zone="UTC")["time zone"]
    assert outcome is Outcome.WARN
    assert "RECSYS_TIME_ZONE=Europe/Moscow" in line


@pytest.mark.parametrize("now", [THEN - timedelta(minutes=6), datetime(1970, 1, 2, tzinfo=UTC)])
def test_a_clock_that_is_behind(place: Place, now: datetime) -> None:
    assert place.findings(now=now)["clock"][0] is Outcome.FAIL


@pytest.mark.parametrize("name", ["journal", "metrics"])
def test_a_folder_that_cannot_be_written(place: Place, name: str) -> None:
    (place.folder / "file").touch()
    outcome, line = place.findings(**{f"{name}_dir": place.folder / "file" / "below"})[name]
    assert outcome is Outcome.FAIL
    assert f"RECSYS_{name.upper()}_DIR" in line


@pytest.mark.parametrize(("needed", "outcome"), [(0, Outcome.WARN), (2**62, Outcome.FAIL)])
def test_a_disk_that_is_nearly_full(
    place: Place, monkeypatch: pytest.MonkeyPatch, needed: int, outcome: Outcome
) -> None:
    monkeypatch.setattr(soundness, "_BYTES_NEEDED", needed)
    monkeypatch.setattr(soundness, "_BYTES_WANTED", 2**62)
    found = place.findings()
    assert found["journal disk"][0] is found["database disk"][0] is outcome


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        ({"public_url": "https://recsys.example"}, Outcome.OK),
        ({}, Outcome.WARN),
        ({"is_console_cookie_secure": False}, Outcome.WARN),
        ({"public_url": "https://recsys.example", "oidc_issuer": "https://id.example"}, Outcome.FAIL),
        (SINGLE_SIGN_ON, Outcome.OK),
        ({**SINGLE_SIGN_ON, "oidc_client_secret": "given to none but this server"}, Outcome.OK),
        ({**SINGLE_SIGN_ON, "oidc_roles": "admins=chief"}, Outcome.FAIL),
        ({**SINGLE_SIGN_ON, "oidc_issuer": "http://id.example"}, Outcome.FAIL),
        ({**SINGLE_SIGN_ON, "oidc_client_id": ""}, Outcome.FAIL),
    ],
)
def test_a_console_that_is_set_by_half(place: Place, settings: dict[str, Any], outcome: Outcome) -> None:
    assert place.findings(is_console_enabled=True, **settings)["console"][0] is outcome


def run(place: Place, monkeypatch: pytest.MonkeyPatch, *arguments: str, **settings: str) -> Any:
    for name, value in (
        place.settings().model_dump(include={"database_url", "journal_dir", "time_zone"}).items()
    ):
        monkeypatch.setenv(f"RECSYS_{name.upper()}", str(value))
    for name, value in settings.items():
        monkeypatch.setenv(f"RECSYS_{name.upper()}", value)
    return CliRunner().invoke(app, ["check", "--bundles", str(place.folder / "bundles"), *arguments])


def test_the_command_says_a_line_for_each_and_exits_with_1_where_one_fails(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = run(place, monkeypatch)
    assert sound.exit_code == 0, sound.output
    assert any(line.startswith("ok   database") for line in sound.stdout.splitlines())
    assert any(line.startswith("warn bundle") and " → " in line for line in sound.stdout.splitlines())
    (place.folder / "file").touch()
    failed = run(place, monkeypatch, journal_dir=str(place.folder / "file"))
    assert failed.exit_code == 1
    assert "fail journal" in failed.stdout


def test_the_command_tells_a_program_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.loads(run(place, monkeypatch, "--json").stdout)
    assert answer["is_sound"] is True
    assert {"name", "outcome", "text", "cure"} == set(answer["checks"][0])

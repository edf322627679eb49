from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from uvicorn.config import STARTUP_FAILURE

from serving.cli import main
from serving.security.keys import KeyRing
from serving.storage.schema import SCHEMA_REVISION
from serving.storage.sql import SqlStore


class Run(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Serve = Callable[..., Run]

FILES = {
    "clients.csv": "client_id,valid_from,recorded_at,name\na,2025-01-01,2025-01-01,Альфа\n",
    "offers.csv": "offer_id,kind,recorded_at\nmail,own,2025-01-01\n",
    "holdings.csv": (
        "holding_id,client_id,offer_id,connected_at,recorded_at\nh,a,mail,2025-01-02,2025-01-02\n"
    ),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def serve(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Serve:
    """Runs a command in this process, which saves importing everything anew."""

    def run(*words: object, **settings: str) -> Run:
        with monkeypatch.context() as patch:
            for name in [each for each in os.environ if each.startswith("RECSYS_")]:
                patch.delenv(name)
            for name, value in {"RECSYS_DATABASE_URL": database_url, **settings}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["recsys-serve", *map(str, words)])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        return Run(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def start(database_url: str) -> Serve:
    """Runs a command in a process of its own, as people do."""

    def run(*words: object, **settings: str) -> Run:
        own = {"RECSYS_DATABASE_URL": database_url, **settings}
        plain = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
        done = subprocess.run(
            [str(Path(sys.executable).parent / "recsys-serve"), *map(str, words)],
            env={**plain, **own},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    return run


def test_migrate_says_the_schema(start: Serve) -> None:
    assert json.loads(start("migrate", "--json").stdout) == {"revision": SCHEMA_REVISION}
    assert start("migrate").returncode == 0


def test_a_load_says_when_the_servers_days_are_not_those_of_the_data(serve: Serve, data: Path) -> None:
    (data / "dataset.toml").write_text('time_zone = "Asia/Omsk"\n')
    (warning,) = json.loads(serve("load", data, "--json").stdout)["warnings"]
    assert "RECSYS_TIME_ZONE=Asia/Omsk" in warning


@pytest.mark.parametrize("password", ["p@ss/WORD", "p/a@WORD", "p@WORD:ss"])
def test_a_password_that_is_taken_apart_is_not_told(serve: Serve, password: str) -> None:
    done = serve("migrate", RECSYS_DATABASE_URL=f"postgresql://recsys:{password}@127.0.0.1:9/none")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "PGPASSWORD" in line
    assert "WORD@" not in line
    assert "ss" not in line.replace("password", "").replace("PASSWORD", "").replace("address", "")


def test_a_server_that_cannot_start_says_why_and_ends(start: Serve) -> None:
    wrong = {
        "RECSYS_IS_CONSOLE_ENABLED": "true",
        "RECSYS_OIDC_ISSUER": "https://id.example",
        "RECSYS_OIDC_CLIENT_ID": "recsys",
        "RECSYS_OIDC_ROLES": "admins=chief",
        "RECSYS_PUBLIC_URL": "https://recsys.example",
    }
    done = start("run", "--workers", 2, "--port", 0, **wrong)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("RECSYS_OIDC_ROLES: 'admins=chief'")


def test_workers_that_cannot_start_are_not_started_again(tmp_path: Path) -> None:
    text = "import serving.supervisor as s, serving.settings as t; s.run(t.Settings(workers=2))"
    wrong = {"RECSYS_OIDC_ISSUER": "http://id.example", "RECSYS_PUBLIC_URL": "https://recsys.example"}
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=tmp_path,
        env={**os.environ, **wrong, "RECSYS_IS_CONSOLE_ENABLED": "true", "RECSYS_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == STARTUP_FAILURE
    told = [line for line in done.stderr.splitlines() if "start_refused" in line]
    assert 1 <= len(told) <= 2, done.stderr
    assert "RECSYS_OIDC_ISSUER: an https address is needed" in told[0]
    assert "Traceback" not in done.stderr


def test_load_and_export(serve: Serve, data: Path, tmp_path: Path) -> None:
    loaded = serve("load", data, "--json")
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout) == {
        "n_rows": {"clients": 1, "offers": 1, "holdings": 1},
        "n_changed_states": 1,
        "policy_version": None,
        "is_new_policy": False,
        "warnings": [],
    }
    exported = serve("export", "--out", tmp_path / "out")
    assert exported.returncode == 0, exported.stderr
    assert "holdings: 1 rows" in exported.stdout
    again = serve("load", tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert "0 changed" in again.stdout


def test_faults_are_named_one_per_line(start: Serve, data: Path) -> None:
    (data / "holdings.csv").write_text(FILES["holdings.csv"] + "h2,nobody,mail,soon,2025-01-02\n")
    failed = start("load", data)
    assert failed.returncode == 1
    assert "holdings, line 3, column connected_at: 'soon'" in failed.stderr
    assert "holdings, line 3, column client_id: 'nobody'" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert start("export", "--out", data / "out").returncode == 1


def test_a_shrunk_feed_needs_a_word(serve: Serve, data: Path) -> None:
    more = "\n".join(f"c{n},2025-01-01,2025-01-01,n" for n in range(9))
    (data / "clients.csv").write_text(FILES["clients.csv"] + more + "\n")
    assert serve("load", data).returncode == 0
    (data / "clients.csv").write_text(FILES["clients.csv"])
    refused = serve("load", data)
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "--allow-shrink" in refused.stderr
    assert serve("load", data, "--allow-shrink").returncode == 0


def test_keys_are_shown_once_and_revoked(serve: Serve, database_url: str) -> None:
    created = serve("keys", "create", "--role", "portal")
    assert created.returncode == 0, created.stderr
    key = created.stdout.strip()
    assert "\n" not in key
    assert key not in created.stderr
    store = SqlStore(database_url)
    record = KeyRing(store.keys()).authenticate(key)
    as_json = json.loads(serve("keys", "create", "--role", "analyst", "--json").stdout)
    assert KeyRing(store.keys()).authenticate(as_json["key"]).key_id == as_json["key_id"]
    assert serve("keys", "revoke", record.key_id).returncode == 0
    listed = serve("keys", "list", "--json").stdout
    assert key not in listed
    entries = json.loads(listed)["keys"]
    assert [(entry["role"], entry["revoked_at"] is None) for entry in entries] == [
        ("portal", False),
        ("analyst", True),
    ]
    assert record.key_id in serve("keys", "list").stdout
    unknown = serve("keys", "revoke", "nothing")
    assert unknown.returncode == 1
    assert "unknown key 'nothing'" in unknown.stderr
    store.close()


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "create"),
        ("offer", "stop", "mail"),
        ("keys", "create", "--role", "king"),
        ("load",),
        ("run", "--port", "many"),
        ("fly",),
    ],
)
def test_wrong_usage_is_exit_code_2(serve: Serve, words: tuple[str, ...]) -> None:
    refused = serve(*words)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_a_database_that_does_not_answer(serve: Serve, start: Serve, data: Path) -> None:
    url = "postgresql://reader:secret-word@127.0.0.1:1/nothing"
    for run, words in (
        (serve, ("load", data)),
        (serve, ("migrate",)),
        (serve, ("keys", "list")),
        (start, ("run", "--port", "0")),
        (serve, ("export", "--out", data / "out")),
    ):
        failed = run(*words, RECSYS_DATABASE_URL=url)
        assert failed.returncode == 1
        assert len(failed.stderr.strip().splitlines()) == 1
        assert "did not answer" in failed.stderr
        assert "secret-word" not in failed.stderr


def test_a_busy_port_is_told_before_anything_is_announced(start: Serve) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        failed = start("run", "--port", port)
    assert failed.returncode == 1
    (line,) = failed.stderr.strip().splitlines()
    assert line.startswith(f"port {port} of 127.0.0.1 is in use")
    assert "--port" in line


def test_an_address_of_nobody_is_told(start: Serve) -> None:
    failed = start("run", "--host", "192.0.2.1", "--port", 0)
    assert failed.returncode == 1
    (line,) = failed.stderr.strip().splitlines()
    assert "cannot listen at 192.0.2.1" in line


def test_a_folder_of_bundles_must_exist(start: Serve, tmp_path: Path) -> None:
    missing = tmp_path / "nope"
    for failed in (start("run", "--bundles", missing), start("run", RECSYS_BUNDLES_DIR=str(missing))):
        assert failed.returncode == 1
        (line,) = failed.stderr.strip().splitlines()
        assert str(missing) in line


def test_an_empty_folder_of_bundles_is_served_with_a_hint(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "bundles").mkdir()
    words = ["run", "--port", "0", "--bundles", str(tmp_path / "bundles")]
    with subprocess.Popen(
        [str(Path(sys.executable).parent / "recsys-serve"), *words],
        env={**os.environ, "RECSYS_DATABASE_URL": database_url},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        lines = [server.stderr.readline() for _ in range(2)]
        server.terminate()
        server.communicate(timeout=30)
    assert lines[0].startswith("API: http://127.0.0.1:")
    assert "holds no bundle yet" in lines[1]


def test_a_wrong_setting_is_named(serve: Serve) -> None:
    failed = serve("keys", "list", RECSYS_PORT="many")
    assert failed.returncode == 1
    assert failed.stderr == "RECSYS_PORT must be a whole number, not 'many'\n"
    assert len(failed.stderr.strip().splitlines()) == 1

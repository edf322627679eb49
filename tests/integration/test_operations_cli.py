"""What people do from the command line while servers run: offers, policies, VIPs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from serving.cli import main

FILES = {
    "clients.csv": "client_id,valid_from,recorded_at,name\na,2025-01-01,2025-01-01,Альфа\n",
    "offers.csv": "offer_id,kind,recorded_at\nmail,own,2025-01-01\n",
    "holdings.csv": "holding_id,client_id,offer_id,connected_at,recorded_at\n",
}


class Run(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Serve = Callable[..., Run]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def serve(
    tmp_path: Path,
    new_sqlite: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Serve:
    monkeypatch.setenv("RECSYS_DATABASE_URL", new_sqlite(tmp_path / "store.db"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["recsys-serve", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Run(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_offers_are_stopped_and_resumed(serve: Serve, data: Path) -> None:
    serve("load", data)
    stopped = serve("offer", "stop", "mail", "--reason", "the price is wrong")
    assert stopped.returncode == 0, stopped.stderr
    (entry,) = json.loads(serve("offer", "list", "--stopped", "--json").stdout)["offers"]
    assert (entry["offer_id"], entry["is_stopped"]) == ("mail", True)
    assert entry["latest_stop"]["author"] == "command line"
    assert entry["latest_stop"]["reason"] == "the price is wrong"
    assert "the price is wrong" in serve("offer", "list").stdout
    assert serve("offer", "resume", "mail", "--reason", "corrected").returncode == 0
    assert json.loads(serve("offer", "list", "--stopped", "--json").stdout) == {"offers": []}
    announced = json.loads(
        serve("offer", "stop", "mail", "--reason", "r", "--at", "2199-01-01", "--json").stdout
    )
    assert announced["effective_at"] == "2199-01-01T00:00:00+00:00"
    assert json.loads(serve("offer", "list", "--stopped", "--json").stdout) == {"offers": []}


def test_a_day_is_told_back_in_the_zone_in_which_it_was_typed(
    serve: Serve, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_TIME_ZONE", "Europe/Moscow")
    serve("load", data)
    begins = "2199-12-01 00:00 Europe/Moscow"
    stopped = serve("offer", "stop", "mail", "--reason", "r", "--at", "2199-12-01")
    assert f"offer mail is stopped from {begins} on" in stopped.stderr
    assert f"announced: {begins}" in serve("offer", "list").stdout
    (tmp_path / "vip.yaml").write_text("min_mean_spend_minor: 100\n")
    published = serve("policy", "publish", tmp_path, "--at", "2199-12-01")
    assert f"is in force from {begins} on" in published.stderr
    assert begins in serve("policy", "list").stdout
    past = serve("policy", "publish", tmp_path, "--at", "2001-01-01")
    assert past.stderr == "--at 2001-01-01: lies in the past; leave it out for now\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("offer", "stop", "mial", "--reason", "r"), "unknown offer 'mial'; did you mean 'mail'?"),
        (("offer", "resume", "mail", "--reason", "r"), "offer 'mail' is not stopped"),
        (("offer", "stop", "mail", "--reason", "r", "--at", "soon"), "--at soon: is neither a day"),
        (
            ("offer", "stop", "mail", "--reason", "r", "--at", "2025-01-01T09:00"),
            "nor an instant with a zone",
        ),
        (
            ("offer", "stop", "mail", "--reason", "r", "--at", "2001-01-01"),
            "--at 2001-01-01: lies in the past",
        ),
        (("policy", "show"), "policy publish DIR"),
        (("policy", "show", "0123456789abcdef"), "policy list"),
        (("policy", "publish", "nowhere"), "nowhere"),
        (("vip", "review"), "no policy is in force; publish one with `recsys-serve policy publish DIR`"),
        (("explain", "c-1", "--offer", "mial"), "unknown offer 'mial'; did you mean 'mail'?"),
        (("explain", "c-1", "--bundles", "nowhere"), "there is no folder nowhere to take bundles from"),
    ],
)
def test_what_cannot_be_done_is_one_line(serve: Serve, data: Path, words: tuple[str, ...], said: str) -> None:
    serve("load", data)
    refused = serve(*words)
    assert refused.returncode == 1
    (line,) = refused.stderr.strip().splitlines()
    assert said in line


def test_policies_are_published_listed_shown_and_exported(serve: Serve, data: Path, tmp_path: Path) -> None:
    serve("load", data)
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "vip.yaml").write_text("min_mean_spend_minor: 100 # рублей\n", encoding="utf-8")
    first = serve("policy", "publish", folder, "--note", "VIP").stdout.strip()
    (folder / "vip.yaml").write_text("min_mean_spend_minor: 200\n", encoding="utf-8")
    announced = json.loads(serve("policy", "publish", folder, "--at", "2199-01-01", "--json").stdout)
    entries = json.loads(serve("policy", "list", "--json").stdout)["policies"]
    assert [(each["version"], each["is_in_force"], each["note"]) for each in entries] == [
        (first, True, "VIP · not evaluated off-policy"),
        (announced["version"], False, "not evaluated off-policy"),
    ]
    assert "announced" in serve("policy", "list").stdout
    assert "# рублей" in serve("policy", "show").stdout
    assert "200" in serve("policy", "show", announced["version"][:6]).stdout
    out = tmp_path / "out"
    assert serve("policy", "export", "--out", out).returncode == 0
    assert [path.name for path in out.iterdir()] == ["vip.yaml"]
    assert (out / "vip.yaml").read_text(encoding="utf-8") == "min_mean_spend_minor: 100 # рублей\n"
    assert "not empty" in serve("policy", "export", "--out", out).stderr


def test_an_announced_policy_is_withdrawn(serve: Serve, data: Path, tmp_path: Path) -> None:
    serve("load", data)
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "placements.yaml").write_text("placements: [{id: home}, {id: banner}]\n")
    assert "warning" not in serve("policy", "publish", folder).stderr
    (folder / "placements.yaml").write_text("placements: [{id: home}]\n")
    announced = serve("policy", "publish", folder, "--at", "2199-01-01")
    assert "warning: placements.yaml: placement 'banner'" in announced.stderr
    version = announced.stdout.strip()
    assert "will not be in force from 2199-01-01" in serve("policy", "withdraw", version[:8]).stderr
    told = [row["is_withdrawal"] for row in json.loads(serve("policy", "list", "--json").stdout)["policies"]]
    assert told == [False, False, True]
    assert "withdrawn" in serve("policy", "list").stdout
    assert "not announced for later" in serve("policy", "withdraw", version[:8]).stderr


def test_a_resumption_says_what_it_does_not_bring_about(serve: Serve, data: Path) -> None:
    (data / "offers.csv").write_text("offer_id,kind,recorded_at,is_stopped\nmail,own,2025-01-01,true\n")
    serve("load", data)
    serve("offer", "stop", "mail", "--reason", "prices")
    assert "warning: offer 'mail' stays off" in serve("offer", "resume", "mail", "--reason", "r").stderr
    serve("offer", "stop", "mail", "--reason", "r", "--at", "2199-01-01")
    assert "2199" not in serve("offer", "list", "--stopped").stdout


def test_a_broken_policy_is_refused_and_the_old_one_stays(serve: Serve, data: Path, tmp_path: Path) -> None:
    serve("load", data)
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "vip.yaml").write_text("min_mean_spend_minor: 100\n")
    version = serve("policy", "publish", folder).stdout.strip()
    (folder / "vip.yaml").write_text("months: 3\nmin_mean_spend_minr: 100\n")
    (folder / "contact.yaml").write_text("cool_downs: {not_now: often}\n")
    refused = serve("policy", "publish", folder)
    assert refused.returncode == 1
    lines = refused.stderr.strip().splitlines()
    assert len(lines) == 3
    place = re.escape(str(folder))
    assert all(re.match(rf"{place}/(vip|contact)\.yaml:\d+: ", line) for line in lines)
    assert json.loads(serve("policy", "show", "--json").stdout)["version"] == version


def test_a_vip_review_says_whom_and_why_and_writes_on_demand(serve: Serve, data: Path) -> None:
    (data / "clients.csv").write_text(
        "client_id,valid_from,recorded_at,name,is_vip\n"
        "a,2025-01-01,2025-01-01,Альфа,\nb,2025-01-01,2025-01-01,Бета,true\n"
        "c,2025-01-01,2025-01-01,Гамма,\n",
        encoding="utf-8",
    )
    today = datetime.now(UTC).date()
    months = [(today.replace(day=1) - timedelta(days=1)).replace(day=1)]
    months += [(months[0] - timedelta(days=days)).replace(day=1) for days in (1, 32)]
    rows = [
        f"{client},{month},{month},{spend}\n" for client, spend in (("a", 100), ("b", 99)) for month in months
    ]
    (data / "client_months.csv").write_text("client_id,month_on,known_at,spend_minor\n" + "".join(rows))
    (data / "vip.yaml").write_text("min_mean_spend_minor: 100\n")
    assert serve("load", data).returncode == 0
    looked = serve("vip", "review")
    assert looked.returncode == 0, looked.stderr
    assert "spends 0.99 of 1 needed" in looked.stdout
    assert "--apply" in looked.stderr
    assert "undecided 1: spend unknown; no figures" in looked.stderr
    applied = json.loads(serve("vip", "review", "--apply", "--json").stdout)
    assert [(each["client_id"], each["outcome"], each["is_written"]) for each in applied["clients"]] == [
        ("a", "granted", True),
        ("b", "revoked", True),
    ]
    again = json.loads(serve("vip", "review", "--apply", "--json").stdout)
    assert again["clients"] == []
    assert again["n_clients"] == {"not_due": 1, "not_qualified": 1, "undecided": 1}
    assert again["undecided"] == [{"reasons": ["spend_unknown"], "latest_month_on": None, "n_clients": 1}]

"""Publishing a policy on an off-policy evaluation of it: let through, warned of, blocked, overridden."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from recsys.decision.policy.policy import version_of
from serving.cli import main
from serving.services.promotion import Evidence, InForce, judge_evidence, read_run

DOCUMENTS = {"vip.yaml": "months: 3\nmin_mean_spend_minor: 100\n"}


class Run(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Publish = Callable[..., Run]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Publish:
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "run").mkdir()
    for name, text in DOCUMENTS.items():
        (tmp_path / "rules" / name).write_text(text, encoding="utf-8")

    def run(*words: str) -> Run:
        monkeypatch.setattr(sys, "argv", ["recsys-serve", "policy", "publish", "rules", "--json", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Run(int(ended.value.code or 0), *capsys.readouterr())

    return run


def found(ends: tuple[float, float, float] | None, **changes: Any) -> None:
    """Write what an evaluation of the documents found, into ``run``."""
    value, low, high = ends or (None, None, None)
    metrics = {
        "subject": {"policy": version_of(DOCUMENTS)},
        "unit": "minor units of RUB",
        "difference": {"value": value, "low": low, "high": high},
        "gate": {"says": ends is not None, "why": [] if ends else ["few effective decisions"], "ess": 7.0},
        **changes,
    }
    Path("run/metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


RUN = ("--offpolicy", "run")


def test_what_speaks_for_a_policy_is_kept_in_its_note(publish: Publish) -> None:
    found((2.0, 1.0, 3.0))
    published = publish(*RUN, "--note", "shorter lists")
    assert published.returncode == 0, published.stderr
    entry = json.loads(published.stdout)
    assert entry["warnings"] == []
    assert entry["note"].startswith("shorter lists · off-policy: nothing speaks against it: +2 (+1 … +3)")


def test_what_may_lose_too_much_is_warned_of(publish: Publish) -> None:
    found((1.0, -2.0, 4.0))
    (warning,) = json.loads(publish(*RUN, "--max-loss", "1").stdout)["warnings"]
    assert "may lose more than the 1 that are tolerated" in warning
    assert json.loads(publish(*RUN, "--max-loss", "3").stdout)["warnings"] == []


def test_what_loses_is_blocked_unless_somebody_says_why(publish: Publish) -> None:
    found((-2.0, -3.0, -1.0))
    blocked = publish(*RUN)
    assert blocked.returncode == 1
    (line,) = blocked.stderr.strip().splitlines()
    assert "not published: it earns less" in line
    assert "--override" in line
    entry = json.loads(publish(*RUN, "--override", "the law wants it").stdout)
    assert "overridden by command line: the law wants it" in entry["note"]
    assert len(entry["warnings"]) == 1


def test_a_log_that_says_nothing_blocks_nothing_and_says_so(publish: Publish) -> None:
    found(None)
    (warning,) = json.loads(publish(*RUN).stdout)["warnings"]
    assert "says nothing about this policy (few effective decisions)" in warning


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--override", "because"), "--offpolicy RUN_DIR"),
        (("--offpolicy", "nowhere"), "nowhere/metrics.json: cannot be read"),
        ((*RUN, "--max-loss", "-1"), "max loss -1"),
    ],
)
def test_a_wrong_request_is_one_line(publish: Publish, words: tuple[str, ...], said: str) -> None:
    found((1.0, 0.5, 2.0))
    run = publish(*words)
    assert run.returncode == 1
    (line,) = run.stderr.strip().splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject": {"policy": "0123456789abcdef"}}, "evaluated policy 0123456789abcdef"),
        ({"difference": "much"}, "is no result"),
    ],
)
def test_a_run_of_something_else_is_refused(publish: Publish, changes: dict[str, Any], said: str) -> None:
    found((1.0, 0.5, 2.0), **changes)
    run = publish(*RUN)
    assert run.returncode == 1
    assert said in run.stderr


def test_a_policy_without_a_run_says_so(publish: Publish) -> None:
    assert json.loads(publish("--note", "shorter").stdout)["note"] == "shorter · not evaluated off-policy"


def test_a_run_on_what_is_live_no_longer_is_warned_of(publish: Publish) -> None:
    subject = {"policy": version_of(DOCUMENTS), "bundle": "b", "last_at": "2025-01-01T00:00:00+00:00"}
    found((2.0, 1.0, 3.0), subject=subject)
    publish()
    (warning,) = json.loads(publish(*RUN).stdout)["warnings"]
    assert "what it calls live is another one" in warning
    told = InForce(bundle="c")
    evidence = Evidence(read_run(Path("run")), "run")
    (warning,) = judge_evidence(evidence, version_of(DOCUMENTS), "key", told).warnings
    assert "decided by bundle b, c is served now" in warning
    found((2.0, 1.0, 3.0), subject={**subject, "live_bundles": {"a": 7}})
    told = InForce(bundle="b")
    evidence = Evidence(read_run(Path("run")), "run")
    (warning,) = judge_evidence(evidence, version_of(DOCUMENTS), "key", told).warnings
    assert "bundle b is live now and made no part of the run's log" in warning

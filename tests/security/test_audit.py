"""The audit of the dependencies never says that all is well when it could not look."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOUND = {"name": "a", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found"}
FAULTY = {"name": "c", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"], "aliases": []}]}


@pytest.fixture
def audit(root_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", root_dir / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("found", "codes", "told"),
    [
        ([SOUND], (0, 0), "1 audited, no known vulnerability"),
        ([SOUND, UNKNOWN], (0, 1), "NOT AUDITED: 1 of 2 could not be looked up: b"),
        ([UNKNOWN], (0, 1), "NOT AUDITED"),
        ([], (0, 1), "NOT AUDITED"),
        ([SOUND, UNKNOWN, FAULTY], (1, 1), "c 2.0: CVE-1, fixed in 2.1"),
        (OSError(), (0, 1), "NOT AUDITED: pip-audit gave no answer"),
        (subprocess.TimeoutExpired("pip-audit", 1), (0, 1), "NOT AUDITED"),
        (KeyError("dependencies"), (0, 1), "NOT AUDITED"),
    ],
)
def test_it_says_what_it_knows(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: Any,
    codes: tuple[int, int],
    told: str,
) -> None:
    def ask(_arguments: list[str]) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(audit, "_asked", ask)
    monkeypatch.delenv("RECSYS_AUDIT", raising=False)
    plain = audit.main([])
    assert told in capsys.readouterr().out
    monkeypatch.setenv("RECSYS_AUDIT", "required")
    assert (plain, audit.main([])) == codes

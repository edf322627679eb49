"""What is told of a wrong setting: its name, what it may be, and what it is."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from recsys.errors import ConfigError
from serving.cli import app
from serving.settings import read_settings


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("RECSYS_WORKERS", "abc", "RECSYS_WORKERS must be a whole number, not 'abc'"),
        ("RECSYS_WORKERS", "65", "RECSYS_WORKERS must be from 1 to 64, not '65'"),
        ("RECSYS_LOG_MONTHS", "2", "RECSYS_LOG_MONTHS must be at least 4, not '2'"),
        ("RECSYS_BODY_SECONDS", "0", "RECSYS_BODY_SECONDS must be more than 0, not '0'"),
        ("RECSYS_IS_PORTAL_ENABLED", "maybe", "RECSYS_IS_PORTAL_ENABLED must be true or false, not 'maybe'"),
        (
            "RECSYS_TIME_ZONE",
            "Mars/Crater",
            "RECSYS_TIME_ZONE: no such time zone; write one like Europe/Moscow (got 'Mars/Crater')",
        ),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"^{re.escape(told)}$"):
        read_settings({})


def test_an_option_is_blamed_as_the_option() -> None:
    with pytest.raises(ConfigError, match=r"^--port must be from 0 to 65535, not '-1'$"):
        read_settings({"port": -1})
    with pytest.raises(ConfigError, match=r"^--portal must be true or false, not 'x'$"):
        read_settings({"is_portal_enabled": "x"})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("users", "add", "anna", "--role", "king"), "'king' is not one of 'portal'"),
        (("explain", "c-1", "--role", "king"), "'king' is not one of 'administrator', 'finance'"),
        (("run", "--workers", "abc"), "'abc'"),
        (("keys", "create", "--role", "portal", "--expires-days", "-5"), "at least 0.001"),
    ],
)
def test_a_wrong_option_is_told_in_plain_words(words: tuple[str, ...], told: str) -> None:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert told in result.output
    assert "Value error" not in result.output
    assert "Input should" not in result.output

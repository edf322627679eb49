"""What an administrator changes while somebody's password is being hashed stands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from serving.accounts import Role
from serving.security import lockout, passwords
from serving.security.sessions import new_session
from serving.settings import Settings

from .conftest import NOW, PASSWORD, Service

SESSION = "recsys-session"
CHOSEN = "the attacker's choice of password"
pytestmark = pytest.mark.usefixtures("patient_door")
Change = Callable[[Service], None]


def disable(service: Service) -> None:
    service.clock.move(seconds=1)
    service.store.set_disabled("anna", is_disabled=True, changed_at=service.clock.now())


def reset(service: Service) -> None:
    service.clock.move(seconds=1)
    service.store.set_password("anna", "of the administrator", service.clock.now())


def do_after(
    service: Service, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str], change: Change
) -> None:
    """Let a change happen right after a step of a request."""
    step = getattr(*place)

    def slow(*arguments: Any) -> Any:
        result = step(*arguments)
        change(service)
        return result

    monkeypatch.setattr(*place, slow)


@pytest.mark.parametrize("change", [disable, reset])
@pytest.mark.parametrize("step", ["is_right", "hash_password"])
def test_nobody_undoes_an_order_by_changing_the_own_password(
    service: Service, monkeypatch: pytest.MonkeyPatch, change: Change, step: str
) -> None:
    service.log_in()
    do_after(service, monkeypatch, (passwords, step), change)
    page = service.ask("GET", "/console/password")
    form = {"token": service.form_token(page), "old": PASSWORD, "new": CHOSEN}
    assert service.ask("POST", "/console/password", data=form).status_code == 401
    monkeypatch.undo()
    user = service.store.user("anna")
    assert user is not None
    assert user.is_disabled == (change is disable)
    assert not passwords.is_right(CHOSEN, user.password_hash)
    assert not service.store._sessions


@pytest.mark.parametrize("change", [disable, reset])
@pytest.mark.parametrize("place", [(passwords, "is_right"), (lockout, "forgive")])
def test_a_log_in_with_the_old_password_does_not_outlive_the_change(
    service: Service, monkeypatch: pytest.MonkeyPatch, change: Change, place: tuple[Any, str]
) -> None:
    do_after(service, monkeypatch, place, change)
    begun = service.log_in()
    assert begun.status_code == (401 if place[0] is passwords else 303)
    assert service.ask("GET", "/console/").status_code == 303
    assert service.ask("GET", "/console/password").headers["location"].startswith("/console/login")


def test_a_reset_by_a_machine_whose_clock_is_ahead_lets_the_new_password_in(service: Service) -> None:
    service.store.set_password("anna", passwords.hash_password(CHOSEN), NOW + timedelta(minutes=1))
    assert service.log_in(password=CHOSEN).status_code == 303
    assert service.ask("GET", "/console/").status_code == 200


def test_logging_out_everywhere_is_of_one_person_not_of_a_namesake(service: Service) -> None:
    _, namesake = new_session("anna", Role.DUTY, NOW, timedelta(hours=1), is_single_sign_on=True)
    service.store.add_session(namesake)
    service.log_in()
    token = service.form_token(service.ask("GET", "/console/"))
    assert service.ask("POST", "/console/logout-everywhere", data={"token": token}).status_code == 303
    assert list(service.store._sessions.values()) == [namesake]
    service.store.set_disabled("anna", is_disabled=True, changed_at=NOW)
    assert list(service.store._sessions.values()) == [namesake]


def test_a_session_in_use_does_not_end_for_want_of_use() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        Settings(session_idle_minutes=1.9)

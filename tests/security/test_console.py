"""The console's door: sessions, forms, lock-outs, where it leads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from serving.accounts import Role, Session, User
from serving.security import passwords
from serving.security.lockout import MAX_OF_ADDRESS, MAX_OF_USER, WINDOW
from serving.security.sessions import digest_of, new_session
from serving.web.authentication import RIGHTS

from .conftest import NOW, PASSWORD, Service

SESSION = "recsys-session"
WRONG = "not the password"
pytestmark = pytest.mark.usefixtures("patient_door")


def sessions_of(service: Service) -> list[Session]:
    return list(service.store._sessions.values())


def cookie_line(response: httpx.Response, name: str = SESSION) -> str:
    (line,) = [line for line in response.headers.get_list("set-cookie") if line.startswith(f"{name}=")]
    return line


def test_who_is_not_in_is_led_to_the_door_and_back(service: Service) -> None:
    turned_away = service.ask("GET", "/console/password")
    assert turned_away.headers["location"] == "/console/login?next=/console/password"
    let_in = service.log_in(next="/console/password")
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/console/password")
    assert service.ask("GET", "/console/password").status_code == 200
    # Who is in already has no use for the door.
    assert service.ask("GET", "/console/login").headers["location"] == "/console/"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/console/",
        "/\\evil.example",
        "/console/\\evil.example",
        "/console//evil.example",
        "/console/../v1/offers",
        "/console/%2e%2e/v1",
        "javascript:alert(1)",
        "/v1/offers",
        "/console/\r\nSet-Cookie: a=b",
        "\t/console/",
        "",
    ],
)
def test_log_in_leads_to_own_pages_only(service: Service, elsewhere: str) -> None:
    page = service.ask("GET", "/console/login", params={"next": elsewhere})
    form = {"token": service.form_token(page), "name": "anna", "password": PASSWORD, "next": elsewhere}
    response = service.ask("POST", "/console/login", data=form)
    target = response.headers["location"]
    assert response.status_code == 303
    assert target.startswith("/console/")
    assert "evil" not in target or target == "/console/"
    assert httpx.URL("http://recsys.test").join(target).host == "recsys.test"
    assert "set-cookie: a=b" not in str(response.headers).lower()


def test_the_store_knows_a_session_by_its_digest_only(service: Service) -> None:
    secret = service.log_in().cookies[SESSION]
    (session,) = sessions_of(service)
    assert session.digest == digest_of(secret) != secret
    assert len(secret) >= 43
    assert (session.user_name, session.role) == ("anna", Role.ADMIN)


def test_cookies_are_for_the_server_alone(start: Callable[..., Service]) -> None:
    plain = start().log_in()
    assert "HttpOnly" in cookie_line(plain)
    assert "samesite=lax" in cookie_line(plain).lower()
    assert "Secure" not in cookie_line(plain)
    secured = start(is_console_cookie_secure=True)
    secured.client.base_url = httpx.URL("https://recsys.test")
    line = cookie_line(secured.log_in(), f"__Host-{SESSION}")
    assert all(word in line for word in ("Secure", "HttpOnly", "Path=/"))
    assert "Domain" not in line


def test_a_session_id_that_was_foisted_on_somebody_is_worth_nothing(service: Service) -> None:
    service.client.cookies.set(SESSION, "foisted")
    mine = service.log_in().cookies[SESSION]
    assert mine != "foisted"
    service.client.cookies.clear()
    assert service.ask("GET", "/console/", headers={"Cookie": f"{SESSION}=foisted"}).status_code == 303


def test_logging_in_again_gives_a_new_id_and_ends_the_old_one(service: Service) -> None:
    first = service.log_in().cookies[SESSION]
    service.client.cookies.delete(SESSION)
    page = service.ask("GET", "/console/login")
    service.client.cookies.set(SESSION, first)
    form = {"token": service.form_token(page), "name": "anna", "password": PASSWORD}
    second = service.ask("POST", "/console/login", data=form).cookies[SESSION]
    assert second != first
    assert [session.digest for session in sessions_of(service)] == [digest_of(second)]


@pytest.mark.parametrize("path", ["/console/logout", "/console/logout-everywhere", "/console/password"])
@pytest.mark.parametrize("token", ["", "wrong", "anothers"])
def test_a_form_without_this_browsers_token_does_nothing(service: Service, path: str, token: str) -> None:
    service.log_in()
    anothers, session = new_session("anna", Role.ADMIN, NOW, timedelta(hours=1))
    service.store.add_session(session)
    if token == "anothers":
        page = service.ask("GET", "/console/", headers={"Cookie": f"{SESSION}={anothers}"})
        token = service.form_token(page)
    before = service.store.user("anna")
    form = {"token": token, "old": PASSWORD, "new": "another password altogether"}
    assert service.ask("POST", path, data=form).status_code == 403
    assert service.store.user("anna") == before
    assert len(sessions_of(service)) == 2


def test_another_sites_form_is_refused_although_it_has_the_token(service: Service) -> None:
    service.log_in()
    token = service.form_token(service.ask("GET", "/console/"))
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site}
        refused = service.ask("POST", "/console/logout", data={"token": token}, headers=headers)
        assert refused.status_code == 403
    assert len(sessions_of(service)) == 1


def test_nobody_is_logged_in_by_another_sites_form(service: Service) -> None:
    """Log-in has a token too: else somebody would work in an attacker's name without knowing."""
    form = {"name": "anna", "password": PASSWORD, "token": ""}
    assert service.ask("POST", "/console/login", data=form).status_code == 403
    assert sessions_of(service) == []


def test_a_form_of_any_other_kind_is_refused(service: Service) -> None:
    page = service.ask("GET", "/console/login")
    for content in (b"\xff\xfe", b"a=b&" * 20_000, b"{}", b""):
        assert service.ask("POST", "/console/login", content=content).status_code in (403, 422)
    assert page.status_code == 200


def test_a_wrong_password_and_an_unknown_name_are_told_and_cost_alike(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    is_right = passwords.is_right

    def ask(password: str, password_hash: str | None) -> bool:
        asked.append(password_hash)
        return is_right(password, password_hash)

    monkeypatch.setattr(passwords, "is_right", ask)
    wrong, unknown = service.log_in(password=WRONG), service.log_in("nobody")
    stripped = [response.text.replace(service.form_token(response), "") for response in (wrong, unknown)]
    assert wrong.status_code == unknown.status_code == 401
    assert stripped[0] == stripped[1]
    assert asked[1] is None
    assert len(asked) == 2


def test_passwords_are_kept_as_the_norms_want_and_nobodys_like_others() -> None:
    kept = passwords.hash_password(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords._nobodys_hash().startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.is_right(PASSWORD, kept)
    assert not passwords.is_right(PASSWORD + "!", kept)
    assert not passwords.is_right(PASSWORD, "no hash")


def test_the_password_of_nobody_opens_nothing(service: Service) -> None:
    assert service.log_in("nobody", "the password of nobody").status_code == 401


def test_too_many_failures_lock_a_name_out_for_a_while(service: Service) -> None:
    for _ in range(MAX_OF_USER):
        assert service.log_in(password=WRONG).status_code == 401
    locked = service.log_in()
    assert locked.status_code == 429
    assert 0 < int(locked.headers["retry-after"]) <= WINDOW.total_seconds()
    # Neither another spelling nor another worker is a way around; coming again does not prolong it.
    assert service.log_in(" ANNA ").status_code == 429
    service.clock.move(seconds=WINDOW.total_seconds() - 1)
    assert service.log_in().status_code == 429
    service.clock.move(seconds=1)
    assert service.log_in().status_code == 303


def test_a_name_that_nobody_has_is_locked_out_alike(service: Service) -> None:
    statuses = [service.log_in("nobody").status_code for _ in range(MAX_OF_USER + 1)]
    assert statuses == [401] * MAX_OF_USER + [429]


def test_success_wipes_the_slate(service: Service) -> None:
    for _ in range(MAX_OF_USER - 1):
        service.log_in(password=WRONG)
    assert service.log_in().status_code == 303
    service.client.cookies.clear()
    assert service.log_in(password=WRONG).status_code == 401
    assert service.log_in().status_code == 303


def test_an_address_that_tries_many_names_is_locked_out(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "is_right", lambda *_: False)
    statuses = [service.log_in(f"name-{number}").status_code for number in range(MAX_OF_ADDRESS + 1)]
    assert statuses == [401] * MAX_OF_ADDRESS + [429]
    stored = " ".join(service.store._attempts)
    assert "192.0.2.7" not in stored
    assert "name-1" not in stored


@pytest.mark.parametrize(
    "moves",
    [{"minutes": 30}, {"hours": 8}],
    ids=["unused", "over"],
)
def test_a_session_ends(service: Service, moves: dict[str, float]) -> None:
    service.log_in()
    if "hours" in moves:
        for _ in range(16):  # in use all the time
            service.clock.move(minutes=29)
            assert service.ask("GET", "/console/").status_code == 200
        service.clock.move(minutes=16)
    else:
        service.clock.move(**moves)
    assert service.ask("GET", "/console/").status_code == 303


def test_logging_out_ends_the_session_in_the_store_too(service: Service) -> None:
    secret = service.log_in().cookies[SESSION]
    token = service.form_token(service.ask("GET", "/console/"))
    left = service.ask("POST", "/console/logout", data={"token": token})
    assert left.headers["location"] == "/console/login?done=left"
    service.client.cookies.clear()
    assert service.ask("GET", "/console/", headers={"Cookie": f"{SESSION}={secret}"}).status_code == 303


def test_a_new_password_logs_out_everywhere(service: Service) -> None:
    _, elsewhere = new_session("anna", Role.ADMIN, NOW, timedelta(hours=1))
    service.store.add_session(elsewhere)
    service.log_in()
    token = service.form_token(service.ask("GET", "/console/password"))
    new = "another password altogether"
    short = service.ask("POST", "/console/password", data={"token": token, "old": PASSWORD, "new": "short"})
    wrong = service.ask("POST", "/console/password", data={"token": token, "old": "wrong", "new": new})
    assert (short.status_code, wrong.status_code, len(sessions_of(service))) == (422, 401, 2)
    changed = service.ask("POST", "/console/password", data={"token": token, "old": PASSWORD, "new": new})
    assert changed.headers["location"] == "/console/login?done=changed"
    assert sessions_of(service) == []
    assert service.log_in().status_code == 401
    assert service.log_in(password=new).status_code == 303


def test_who_is_disabled_is_out_at_once(service: Service) -> None:
    secret = service.log_in().cookies[SESSION]
    user = service.store.user("anna")
    assert user is not None
    service.store._users["anna"] = replace(user, is_disabled=True)  # the session is still stored
    assert service.ask("GET", "/console/", headers={"Cookie": f"{SESSION}={secret}"}).status_code == 303
    assert service.log_in().status_code == 401


@pytest.mark.parametrize("role", [Role.MARKETER, Role.ANALYST, Role.DUTY, Role.ADMIN])
@pytest.mark.parametrize("language", ["ru", "en"])
def test_everybody_sees_what_the_role_may_see(
    service: Service, role: Role, language: str, password_hash: str
) -> None:
    service.store.add_user(User("somebody", password_hash, role, False, NOW, NOW))
    service.log_in("somebody")
    page = service.ask("GET", "/console/", params={"lang": language})
    assert page.status_code == 200
    assert f'<html lang="{language}">' in page.text
    assert RIGHTS[role]


def test_a_text_of_somebody_is_a_text_on_the_page(service: Service) -> None:
    key = service.keys[Role.ADMIN]
    hostile = "<script>alert(1)</script> {{ 7*7 }} {% raw %} ${7*7}"
    stopped = service.ask("POST", "/v1/offers/crm/stop", key, json={"reason": hostile})
    assert stopped.status_code == 200
    service.log_in()
    page = service.ask("GET", "/console/").text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{ 7*7 }} {% raw %} ${7*7}" in page
    assert "49" not in page.replace(NOW.strftime("%H:%M"), "")


def test_pages_allow_nothing_but_their_own_style(service: Service) -> None:
    page = service.ask("GET", "/console/login")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert "style=" not in page.text


@pytest.mark.parametrize(
    "name", ["../routes.py", "..%2froutes.py", "%2e%2e/texts.py", "nothing", "/etc/passwd"]
)
def test_files_beside_the_pages_are_those_and_no_others(service: Service, name: str) -> None:
    assert service.ask("GET", f"/console/static/{name}").status_code == 404

"""The page's sign-in: a cookie that no script reads, a header that no other page sends, and codes good once."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from rollcall.access.api_keys import SCOPES, ApiKeys
from rollcall.access.directory import Directory
from rollcall.access.reach import ALL, Reach
from rollcall.core.limits import Limit
from rollcall.core.projects import Project
from rollcall.http.services import service
from rollcall.stack.dynamo import Dynamo
from tests.gateway import Answered, Gateway
from tests.integration.conftest import WholeApi
from tests.support import LAMBDA_CONTEXT, assert_problem, scan

EMAIL = "ada@example.com"
PASSWORD = "nine green bottles"
BY_PASSWORD = {"email": EMAIL, "password": PASSWORD}
PAGE = {"X-Rollcall-Page": "1"}
COOKIE = re.compile(
    r"rollcall_session=(?P<value>\w*); Max-Age=(?P<seconds>\d+); Path=(?P<path>[^;]+); HttpOnly; SameSite=Strict"
    r"(?P<secure>; Secure)?"
)


@dataclass
class Pages:
    """The accounts' function, and a page that signs in to it."""

    module: ModuleType
    table: str
    dynamodb: Any

    def kept(self) -> list[dict[str, str]]:
        return sorted(scan(self.dynamodb, self.table), key=lambda item: (item["pk"], item["sk"]))

    @property
    def keys(self) -> ApiKeys:
        return ApiKeys(Dynamo(self.dynamodb), self.table)

    def account(self, *scopes: str, project: Project | None = None) -> None:
        reach = None if project is None else Reach(project)
        self.module.people.register(EMAIL, PASSWORD, scopes or SCOPES, reach)

    def send(
        self, method: str, path: str, headers: dict[str, str], body: object = None, origins: tuple[str, ...] = ()
    ) -> Response:
        client = TestClient(WholeApi({"auth": self.module.app}, origins), raise_server_exceptions=False)
        return client.request(method, path, headers=headers, json=body)

    def sign_in(self, body: object, **headers: str) -> Response:
        return self.send("POST", "/auth/session", {**PAGE, **headers}, body)

    def signed_in(self, body: object) -> "Session":
        return Session.of(self, self.sign_in(body))

    def refresh(self, cookie: str, **headers: str) -> Response:
        return self.send("POST", "/auth/session/refresh", {**PAGE, "Cookie": cookie, **headers})

    def sign_out(self, cookie: str) -> Response:
        return self.send("DELETE", "/auth/session", {**PAGE, "Cookie": cookie})

    def code(self, headers: dict[str, str], **body: object) -> str:
        answer = self.send("POST", "/auth/codes", headers, body)
        assert answer.status_code == 201
        return str(answer.json()["code"])


@dataclass
class Session:
    pages: Pages
    cookie: str
    token: str

    @classmethod
    def of(cls, pages: Pages, answer: Response) -> "Session":
        assert answer.status_code == 200
        return cls(pages, f"rollcall_session={cookie_of(answer)['value']}", answer.json()["access_token"])

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def use(self) -> Response:
        """Call something that an admin may."""
        return self.pages.send("GET", "/keys", self.bearer)


def cookie_of(answer: Response | Answered) -> dict[str, Any]:
    found = COOKIE.fullmatch(answer.headers["set-cookie"])
    assert found, answer.headers["set-cookie"]
    return found.groupdict()


def shown(answer: Response) -> dict[str, Any]:
    """Who is signed in. Nothing is shared with them."""
    principal: dict[str, Any] = answer.json()["principal"]
    assert principal.pop("share") is None
    return principal


def assert_deleted(answer: Response) -> None:
    assert (cookie_of(answer)["value"], cookie_of(answer)["seconds"]) == ("", "0")


@pytest.fixture
def pages(load_handler: Callable[[str], ModuleType], access_table: str, dynamodb: Any) -> Pages:
    return Pages(load_handler("auth"), access_table, dynamodb)


def test_an_account_signs_in_and_its_refresh_token_is_in_the_cookie_alone(pages: Pages) -> None:
    pages.account("read", project=Project("default"))

    answer = pages.sign_in(BY_PASSWORD)

    cookie = cookie_of(answer)
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "principal"}
    assert shown(answer) == {"name": EMAIL, "kind": "account", "scopes": ["read"], "project": "default"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 900)
    assert cookie["value"].startswith("rt_")
    assert (int(cookie["seconds"]), cookie["path"], bool(cookie["secure"])) == (604_800, "/auth/session", True)
    assert cookie["value"] not in answer.text


def test_a_key_signs_in_with_its_own_scopes_source_and_limit(pages: Pages) -> None:
    key, text = pages.keys.create("shop", ["ingest"], "web", Limit(0.001, 3), reach=Reach(Project("shop")))

    answer = pages.sign_in({"key": text})
    session = Session.of(pages, answer)

    assert shown(answer) == {"name": "shop", "kind": "key", "scopes": ["ingest"], "project": "shop"}
    assert_problem(session.use(), 403, "missing_scope")
    caller, _ = pages.module.gate.admit(session.token, "GET", "/x")
    of_key, allowance = pages.module.gate.admit(text, "GET", "/x")
    assert caller._replace(session_id=None) == of_key
    assert caller.sender.key_id == key.key_id
    # All three took from the one bucket, and are counted.
    assert (allowance.limit, allowance.remaining) == (Limit(0.001, 3), 0)
    assert sum(pages.keys.find(key.key_id, ALL).requests.values()) == 3
    assert_problem(session.use(), 429, "too_many_requests")


def test_a_revoked_key_ends_its_sessions_at_once(pages: Pages) -> None:
    key, text = pages.keys.create("shop", SCOPES, "web")
    session = pages.signed_in({"key": text})
    code = pages.code({"X-API-Key": text})
    assert session.use().status_code == 200

    pages.keys.revoke(key.key_id, ALL)

    assert_problem(session.use(), 401, "revoked")
    assert_problem(pages.refresh(session.cookie), 401, "invalid_session")
    assert_problem(pages.sign_in({"key": text}), 401, "wrong_credentials")
    assert_problem(pages.sign_in({"code": code}), 401, "wrong_credentials")


@pytest.mark.parametrize("grace", [0, 60])
def test_a_session_of_a_key_is_good_while_the_text_is_that_it_began_with(pages: Pages, grace: int) -> None:
    key, text = pages.keys.create("shop", SCOPES, "web")
    session, code = pages.signed_in({"key": text}), pages.code({"X-API-Key": text})

    new = pages.keys.rotate(key.key_id, ALL, timedelta(seconds=grace))

    assert session.use().status_code == (200 if grace else 401)
    assert pages.refresh(session.cookie).status_code == (200 if grace else 401)
    assert pages.sign_in({"code": code}).status_code == (200 if grace else 401)
    assert pages.signed_in({"key": new}).use().status_code == 200


def test_a_session_of_a_key_ends_with_the_key(pages: Pages) -> None:
    _, text = pages.keys.create("shop", SCOPES, "web", lifetime=timedelta(minutes=5))

    answer = pages.sign_in({"key": text})

    assert answer.json()["expires_in"] <= 300
    assert int(cookie_of(answer)["seconds"]) <= 300


@pytest.mark.parametrize(
    "key",
    [f"rc_{'0' * 16}_{'0' * 48}", "garbage", "", "rt_", "x" * 512],
    ids=["unknown", "other", "none", "rt", "long"],
)
def test_what_is_no_key_is_refused_and_not_repeated(pages: Pages, key: str) -> None:
    answer = pages.sign_in({"key": key})

    assert_problem(answer, 401, "wrong_credentials")
    assert not key or key not in answer.text
    assert "set-cookie" not in answer.headers


def test_a_wrong_password_is_answered_as_the_login_answers_it(pages: Pages) -> None:
    pages.account()
    wrong = {"email": EMAIL, "password": "no green bottles"}

    answers = [pages.send("POST", path, PAGE, wrong) for path in ("/auth/session", "/auth/login")]

    assert_problem(answers[0], 401, "wrong_credentials")
    assert answers[0].content == answers[1].content
    assert "set-cookie" not in answers[0].headers


def test_the_page_and_the_login_share_the_tries_of_an_account(
    monkeypatch: pytest.MonkeyPatch, load_handler: Callable[[str], ModuleType], access_table: str, dynamodb: Any
) -> None:
    monkeypatch.setenv("LOGINS_PER_MINUTE", "0.06")
    monkeypatch.setenv("LOGIN_BURST", "2")
    pages = Pages(load_handler("auth"), access_table, dynamodb)
    pages.account()
    wrong = {"email": EMAIL, "password": "no green bottles"}

    assert_problem(pages.sign_in(wrong), 401, "wrong_credentials")
    assert_problem(pages.send("POST", "/auth/login", {}, wrong), 401, "wrong_credentials")

    assert_problem(pages.sign_in(BY_PASSWORD), 429, "too_many_requests")


@pytest.mark.parametrize(
    "body",
    [{}, {"email": EMAIL}, {"password": PASSWORD}, {"key": "a", "code": "b"}, {**BY_PASSWORD, "key": "a"}],
    ids=["nothing", "email", "password", "two", "three"],
)
def test_a_body_that_is_of_no_one_form_is_a_422(pages: Pages, body: object) -> None:
    assert_problem(pages.sign_in(body), 422, "invalid_field")


def test_the_cookie_is_exchanged_for_the_next_one(pages: Pages) -> None:
    pages.account()
    first = pages.signed_in(BY_PASSWORD)

    answer = pages.refresh(first.cookie)
    second = Session.of(pages, answer)

    assert answer.json()["principal"]["name"] == EMAIL
    assert second.cookie != first.cookie
    assert [first.use().status_code, second.use().status_code] == [200, 200]
    assert Session.of(pages, pages.refresh(second.cookie)).use().status_code == 200


def test_a_second_tab_that_sends_the_same_cookie_gets_an_access_token_and_no_cookie(pages: Pages) -> None:
    _, text = pages.keys.create("shop", SCOPES, "web")
    for body in (BY_PASSWORD, {"key": text}):
        if body is BY_PASSWORD:
            pages.account()
        first = pages.signed_in(body)
        second = Session.of(pages, pages.refresh(first.cookie))

        late = pages.refresh(first.cookie)

        assert late.status_code == 200
        assert "set-cookie" not in late.headers
        assert "rt_" not in late.text
        assert pages.send("GET", "/keys", {"Authorization": f"Bearer {late.json()['access_token']}"}).status_code == 200
        assert pages.refresh(second.cookie).status_code == 200


def meanwhile(send: Callable[[], Response]) -> Response:
    """The answer to a request that comes while another one is answered, by an event loop of its own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TestClient, "portal", None)
        return send()


def test_of_two_tabs_whose_requests_meet_one_gets_the_cookie_and_both_a_token(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages.account()
    first = pages.signed_in(BY_PASSWORD)
    answers: list[Response] = []
    transact = Dynamo.transact

    def meeting(self: Dynamo, writes: Any) -> Any:
        monkeypatch.setattr(Dynamo, "transact", transact)
        answers.append(meanwhile(lambda: pages.refresh(first.cookie)))
        return transact(self, writes)

    monkeypatch.setattr(Dynamo, "transact", meeting)
    answers.append(pages.refresh(first.cookie))

    assert [answer.status_code for answer in answers] == [200, 200]
    assert ["set-cookie" in answer.headers for answer in answers] == [True, False]
    assert pages.refresh(Session.of(pages, answers[0]).cookie).status_code == 200


def test_a_cookie_that_comes_again_later_ends_the_session(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    pages.account()
    first = pages.signed_in(BY_PASSWORD)
    second = Session.of(pages, pages.refresh(first.cookie))
    now = time.time()
    monkeypatch.setattr(pages.module.people.sessions, "_clock", lambda: now + 31)

    answer = pages.refresh(first.cookie)

    assert_problem(answer, 401, "invalid_session")
    assert_deleted(answer)
    assert_problem(second.use(), 401, "revoked")
    assert_problem(pages.refresh(second.cookie), 401, "invalid_session")


def test_a_cookie_before_the_last_one_ends_the_session_at_any_time(pages: Pages) -> None:
    pages.account()
    first = pages.signed_in(BY_PASSWORD)
    third = Session.of(pages, pages.refresh(Session.of(pages, pages.refresh(first.cookie)).cookie))

    assert_problem(pages.refresh(first.cookie), 401, "invalid_session")
    assert_problem(third.use(), 401, "revoked")


def test_a_refresh_token_of_the_api_that_was_used_is_not_taken_for_that_of_a_tab(pages: Pages) -> None:
    pages.account()
    old = pages.send("POST", "/auth/login", {}, BY_PASSWORD).json()["refresh_token"]
    assert pages.send("POST", "/auth/refresh", {}, {"refresh_token": old}).status_code == 200

    assert_problem(pages.refresh(f"rollcall_session={old}"), 401, "invalid_session")


def test_signing_out_ends_the_session_and_deletes_the_cookie(pages: Pages) -> None:
    pages.account()
    session = pages.signed_in(BY_PASSWORD)

    answer = pages.sign_out(session.cookie)

    assert answer.status_code == 204
    assert_deleted(answer)
    assert_problem(session.use(), 401, "revoked")
    assert_problem(pages.refresh(session.cookie), 401, "invalid_session")
    assert pages.sign_out(session.cookie).status_code == 204
    assert pages.sign_out("other=1").status_code == 204


BAD_COOKIES: dict[str, Callable[[str], str]] = {
    "none": lambda good: "other=1",
    "empty": lambda good: "rollcall_session=",
    "garbage": lambda good: "rollcall_session=garbage",
    "twice": lambda good: f"{good}; {good}",
    "beside another": lambda good: f"rollcall_session=x; {good}",
    "quoted": lambda good: good.replace("=", '="') + '"',
    "longer": lambda good: f"{good}0",
    "in upper case": lambda good: good.upper(),
}


@pytest.mark.parametrize("name", BAD_COOKIES)
def test_the_answer_to_a_bad_cookie_deletes_it(pages: Pages, name: str) -> None:
    pages.account()
    session = pages.signed_in(BY_PASSWORD)

    answer = pages.refresh(BAD_COOKIES[name](session.cookie))

    assert_problem(answer, 401, "invalid_session")
    assert_deleted(answer)
    assert pages.refresh(f"a=b;{session.cookie} ; c=d").status_code == 200


FOREIGN = {
    "no header": {},
    "another value": {"X-Rollcall-Page": "0"},
    "an empty value": {"X-Rollcall-Page": ""},
    "another origin": {**PAGE, "Origin": "https://evil.example"},
    "a lookalike": {**PAGE, "Origin": "https://testserver.evil.example"},
    "no origin to tell": {**PAGE, "Origin": "null"},
    "plain http": {**PAGE, "Origin": "http://testserver"},
    "another port": {**PAGE, "Origin": "https://testserver:8443"},
    "another scheme": {**PAGE, "Origin": "ftp://testserver"},
    "a user in it": {**PAGE, "Origin": "https://x@testserver"},
    "no port of it": {**PAGE, "Origin": "https://testserver:x"},
    "another site": {**PAGE, "Sec-Fetch-Site": "cross-site"},
    "a neighbour": {**PAGE, "Sec-Fetch-Site": "same-site"},
    "a typed address": {**PAGE, "Sec-Fetch-Site": "none"},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_another_page_could_send_is_refused_and_changes_nothing(pages: Pages, name: str) -> None:
    pages.account()
    session = pages.signed_in(BY_PASSWORD)
    before = pages.kept()
    headers = {**FOREIGN[name], "Cookie": session.cookie}

    answers = [
        pages.send("POST", "/auth/session", headers, BY_PASSWORD, ("*",)),
        pages.send("POST", "/auth/session/refresh", headers, origins=("https://evil.example",)),
        pages.send("DELETE", "/auth/session", headers, origins=("*",)),
    ]

    for answer in answers:
        assert_problem(answer, 403, "cross_site")
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-credentials" not in answer.headers
    assert pages.kept() == before


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://testserver"}, {"Origin": "https://testserver:443", "Sec-Fetch-Site": "same-origin"}],
    ids=["origin", "both"],
)
def test_the_page_of_the_same_origin_signs_in(pages: Pages, headers: dict[str, str]) -> None:
    pages.account()

    assert pages.sign_in(BY_PASSWORD, **headers).status_code == 200


@pytest.mark.parametrize("origins", ["", "*", "https://app.example.com"], ids=["none", "any", "one"])
@pytest.mark.parametrize(
    ("path", "method"), [("/auth/session", "POST"), ("/auth/session/refresh", "POST"), ("/auth/session", "DELETE")]
)
def test_no_setting_lets_another_page_send_the_pages_header_or_the_cookie(
    monkeypatch: pytest.MonkeyPatch, load_handler: Callable[[str], ModuleType], origins: str, path: str, method: str
) -> None:
    monkeypatch.setenv("CORS_ORIGINS", origins)
    asked = {
        "Origin": "https://app.example.com",
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,x-rollcall-page",
    }

    answer = Gateway(lambda function: load_handler(function).handler).request("OPTIONS", path, asked)

    assert answer.status_code == (400 if origins else 404)
    assert "x-rollcall-page" not in answer.headers.get("access-control-allow-headers", "").lower()
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonp"]
)
def test_a_body_that_a_form_could_send_is_a_415(pages: Pages, kind: str) -> None:
    pages.account()

    answer = TestClient(WholeApi({"auth": pages.module.app})).post(
        "/auth/session", headers={**PAGE, "Content-Type": kind}, content=json.dumps(BY_PASSWORD)
    )

    assert assert_problem(answer, 415, "invalid_type")["parameter"] == "Content-Type"


PLACES = {
    # The path that the caller asked for, the host, what the gateway says of it, and the attributes.
    "the stage": ("/v1/auth/session", "a.execute-api.eu-west-1.amazonaws.com", None, "/v1/auth/session", True),
    "a domain's root": ("/auth/session", "numbers.example.com", "numbers.example.com", "/auth/session", True),
    "a domain's folder": ("/a/b/auth/session", "x.example.com", "x.example.com", "/a/b/auth/session", True),
    "a slash at the end": ("/v1/auth/session/", "x.example.com", "x.example.com", "/v1/auth/session", True),
    "this machine": ("/v1/auth/session", "127.0.0.1:4566", None, "/v1/auth/session", False),
    "this machine by name": ("/v1/auth/session", "localhost:4566", None, "/v1/auth/session", False),
    "a made-up host on AWS": ("/v1/auth/session", "localhost", "x.example.com", "/v1/auth/session", True),
    "a made-up path": ("/v1;x/auth/session", "x.example.com", "x.example.com", "/auth/session", True),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_cookie_is_for_the_place_that_the_page_was_asked_at(pages: Pages, name: str) -> None:
    asked, host, domain, path, secure = PLACES[name]
    pages.account()

    class Placed(Gateway):
        def _event(self, *about: Any) -> dict[str, Any]:
            event = super()._event(*about)
            event["requestContext"] |= {"path": asked, **({"domainName": domain} if domain else {})}
            return event

    gateway = Placed(lambda _: pages.module.handler)
    headers = {**PAGE, "Host": host, "Content-Type": "application/json"}
    answer = gateway.request("POST", "/auth/session", headers, json.dumps(BY_PASSWORD).encode())

    assert answer.status_code == 200
    assert (cookie_of(answer)["path"], bool(cookie_of(answer)["secure"])) == (path, secure)


def test_behind_tls_on_this_machine_the_cookie_is_secure_and_http_is_another_origin(pages: Pages) -> None:
    pages.account()
    here = {"Host": "127.0.0.1:8443", "X-Forwarded-Proto": "https"}

    assert cookie_of(pages.sign_in(BY_PASSWORD, **here))["secure"]
    assert pages.sign_in(BY_PASSWORD, **here, Origin="https://127.0.0.1:8443").status_code == 200
    assert_problem(pages.sign_in(BY_PASSWORD, **here, Origin="http://127.0.0.1:8443"), 403, "cross_site")
    plain = {"Host": "127.0.0.1:4566", "Origin": "http://127.0.0.1:4566"}
    assert pages.sign_in(BY_PASSWORD, **plain).status_code == 200


def test_a_code_signs_in_once_as_the_key_that_made_it(pages: Pages) -> None:
    _, text = pages.keys.create("shop", ["ingest"], "web")
    made = pages.send("POST", "/auth/codes", {"X-API-Key": text}, {})

    answer = pages.sign_in({"code": made.json()["code"]})

    assert made.status_code == 201
    assert made.json().keys() == {"code", "expires_at"}
    assert shown(answer) == {"name": "shop", "kind": "key", "scopes": ["ingest"], "project": "default"}
    assert_problem(pages.sign_in({"code": made.json()["code"]}), 401, "wrong_credentials")


def test_a_code_signs_in_as_the_account_that_made_it(pages: Pages) -> None:
    pages.account("admin", "read", project=Project("default"))
    session = pages.signed_in(BY_PASSWORD)

    answer = pages.sign_in({"code": pages.code(session.bearer)})

    assert answer.json()["principal"]["kind"] == "account"
    assert answer.json()["principal"]["name"] == EMAIL
    other = Session.of(pages, answer)
    assert pages.sign_out(session.cookie).status_code == 204
    assert other.use().status_code == 200


def test_of_two_who_bring_a_code_at_once_one_is_let_in(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text = pages.keys.create("shop", SCOPES, "web")
    code = pages.code({"X-API-Key": text})
    answers: list[Response] = []
    transact = Dynamo.transact

    def meeting(self: Dynamo, writes: Any) -> Any:
        monkeypatch.setattr(Dynamo, "transact", transact)
        answers.append(meanwhile(lambda: pages.sign_in({"code": code})))
        return transact(self, writes)

    monkeypatch.setattr(Dynamo, "transact", meeting)
    answers.append(pages.sign_in({"code": code}))

    assert [answer.status_code for answer in answers] == [200, 401]
    assert sum(item["sk"].startswith("session#") for item in pages.kept()) == 1


def end_session(pages: Pages, session: Session) -> None:
    pages.sign_out(session.cookie)


def disable(pages: Pages, session: Session) -> None:
    directory = service(pages.module.app, Directory)
    claims = pages.module.gate.tokens.read(session.token)
    directory.disable(claims.owner_id, ALL)


def change_password(pages: Pages, session: Session) -> None:
    body = {"current_password": PASSWORD, "new_password": "eight green bottles"}
    assert pages.send("POST", "/auth/change-password", session.bearer, body).status_code == 204


@pytest.mark.parametrize("end", [end_session, disable, change_password])
def test_a_code_of_a_session_that_has_ended_signs_nobody_in(
    pages: Pages, end: Callable[[Pages, Session], None]
) -> None:
    pages.account()
    session = pages.signed_in(BY_PASSWORD)
    code = pages.code(session.bearer)

    end(pages, session)

    assert_problem(pages.sign_in({"code": code}), 401, "wrong_credentials")


def test_a_code_is_good_for_its_life_whatever_the_table_still_has(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = pages.keys.create("shop", SCOPES, "web")
    code = pages.code({"X-API-Key": text}, expires_in=60)
    sign_in = service(pages.module.app, pages.module.SignIn)
    now = time.time()
    monkeypatch.setattr(sign_in, "_clock", lambda: now + 61)

    assert_problem(pages.sign_in({"code": code}), 401, "wrong_credentials")
    assert any(item["pk"].startswith("code#") for item in pages.kept())


@pytest.mark.parametrize("seconds", [0, -1, 86_401, 1.5, "60", True])
def test_a_code_lives_for_a_day_at_most(pages: Pages, seconds: object) -> None:
    _, text = pages.keys.create("shop", SCOPES, "web")

    answer = pages.send("POST", "/auth/codes", {"X-API-Key": text}, {"expires_in": seconds})

    assert assert_problem(answer, 422, "invalid_field")["parameter"] == "expires_in"
    pages.code({"X-API-Key": text}, expires_in=86_400)


def test_no_chain_of_codes_outlives_the_login(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    pages.account()
    first = pages.signed_in(BY_PASSWORD)
    ends = {item["ends_at"] for item in pages.kept() if "own" in item}
    now = time.time()
    monkeypatch.setattr(pages.module.people.sessions, "_clock", lambda: now + 3_600)

    pages.signed_in({"code": pages.code(first.bearer)})

    sessions = [item for item in pages.kept() if "own" in item]
    assert len(sessions) == 2
    assert {item["ends_at"] for item in sessions} == ends


def test_codes_and_cookies_are_kept_as_hashes_alone_and_logged_nowhere(
    pages: Pages, capsys: pytest.CaptureFixture[str]
) -> None:
    _, text = pages.keys.create("shop", SCOPES, "web")
    code = pages.code({"X-API-Key": text})
    kept = str(pages.kept())
    session = pages.signed_in({"code": code})
    cookie = session.cookie.partition("=")[2]
    kept += str(pages.kept())

    pages.module.handler(
        {"httpMethod": "POST", "path": "/auth/session", "headers": {**PAGE, "Cookie": session.cookie}, "body": code,
         "resource": "/auth/session", "requestContext": {"identity": {"sourceIp": "192.0.2.1"}}},
        LAMBDA_CONTEXT,
    )  # fmt: skip

    logged = capsys.readouterr()
    for secret in (code, code[3:], text.rpartition("_")[2], session.token, *cookie.split("_")[3:]):
        assert secret not in kept
        assert secret not in logged.out + logged.err

import json
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

import argon2
import boto3
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from rollcall.access.accounts import (
    MAX_EMAIL_CHARACTERS,
    AccountExists,
    Accounts,
    LoginRules,
    WrongPassword,
)
from rollcall.access.api_keys import SCOPES, ApiKeys
from rollcall.access.directory import Directory
from rollcall.access.passwords import Passwords
from rollcall.access.reach import ALL, Reach
from rollcall.access.sessions import REFRESH_SECONDS, InvalidRefreshToken, TokenPair
from rollcall.access.tokens import ACCESS_SECONDS, AccessTokens, TokenClaims
from rollcall.core.limits import Limit, TooFast
from rollcall.core.projects import Project
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import ACCOUNTS_KEY
from scripts.local.deploy import template
from scripts.paths import ROOT
from tests.integration.conftest import WholeApi
from tests.support import LAMBDA_CONTEXT, assert_problem, sample_event, scan

EMAIL = "ada@example.com"
PASSWORD = "nine green bottles"
OTHER_PASSWORD = "eight green bottles"
WRONG_PASSWORD = "no green bottles"
ADDRESS = "192.0.2.1"
SESSION = "0" * 32
RULES = LoginRules(Limit(10, 100), Limit(10, 100), 90 * 86_400)
NEVER = "0.06"
"""A minute: a token in 1,000 seconds, which no test takes."""

SignIn = dict[str, str]


@dataclass
class Api:
    """The accounts' function, with a key that may everything."""

    module: ModuleType
    key: str

    def send(
        self, path: str, body: object, credential: dict[str, str] | None = None, address: str = "192.0.2.1"
    ) -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        client = TestClient(
            WholeApi({"auth": self.module.app}), raise_server_exceptions=False, client=(address, 50_000)
        )
        return client.post(path, content=content, headers=credential)

    @property
    def admin(self) -> dict[str, str]:
        return {"X-API-Key": self.key}

    def admin_asks(self, method: str, path: str) -> Response:
        client = TestClient(WholeApi({"auth": self.module.app}), raise_server_exceptions=False)
        return client.request(method, path, headers=self.admin)

    def register(self, email: str = EMAIL, password: str = PASSWORD, scopes: list[str] | None = None) -> str:
        body = {"email": email, "password": password, "scopes": scopes or list(SCOPES)}
        response = self.send("/auth/register", body, self.admin)
        assert response.status_code == 201
        account_id: str = response.json()["account_id"]
        return account_id

    def try_to_login(self, email: str = EMAIL, password: str = PASSWORD, address: str = "192.0.2.1") -> Response:
        return self.send("/auth/login", {"email": email, "password": password}, address=address)

    def login(self, email: str = EMAIL, password: str = PASSWORD) -> SignIn:
        response = self.try_to_login(email, password)
        assert response.status_code == 200
        tokens: SignIn = response.json()
        return tokens

    def refresh(self, refresh_token: str) -> Response:
        return self.send("/auth/refresh", {"refresh_token": refresh_token})

    def logout(self, refresh_token: str) -> Response:
        return self.send("/auth/logout", {"refresh_token": refresh_token})

    def change(self, tokens: SignIn, present: str, new: str) -> Response:
        body = {"current_password": present, "new_password": new}
        return self.send("/auth/change-password", body, bearer(tokens))

    def use(self, tokens: SignIn) -> Response:
        """Call something that an admin may."""
        return TestClient(WholeApi({"auth": self.module.app})).get("/keys", headers=bearer(tokens))

    def assert_alive(self, *sessions: SignIn) -> None:
        for tokens in sessions:
            assert self.use(tokens).status_code == 200

    def assert_ended(self, *sessions: SignIn) -> None:
        for tokens in sessions:
            assert_problem(self.use(tokens), 401, "revoked")
            assert_problem(self.refresh(tokens["refresh_token"]), 401, "invalid_refresh_token")


def bearer(tokens: SignIn) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


@pytest.fixture
def load_api(
    monkeypatch: pytest.MonkeyPatch, load_handler: Callable[[str], ModuleType], api_key: str
) -> Callable[..., Api]:
    """Makes the API under settings other than the usual ones."""

    def load(**settings: str) -> Api:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        return Api(load_handler("auth"), api_key)

    return load


@pytest.fixture
def api(load_api: Callable[..., Api]) -> Api:
    return load_api()


@dataclass
class Clock:
    now: float = 1_756_728_000.0

    def __call__(self) -> float:
        return self.now


class StubTokens:
    def issue(self, claims: TokenClaims) -> str:
        return claims.session_id


class RacingPasswords(Passwords):
    """Passwords that have something happen as soon as one is found to be right."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__()
        self._then = then

    def matches(self, hashed: str, password: str) -> bool:
        matches = super().matches(hashed, password)
        self._then()
        return matches


class RacingDynamo(Dynamo):
    """DynamoDB in which something happens just before a transaction."""

    def __init__(self, client: Any, before: Callable[[], object]) -> None:
        super().__init__(client)
        self._before = before

    def transact(self, writes: Any) -> Any:
        self._before()
        return super().transact(writes)


@dataclass
class Store:
    """The accounts of a table, by hand."""

    client: Any
    table: str
    clock: Clock = field(default_factory=Clock)

    def accounts(
        self, passwords: Passwords | None = None, dynamo: Dynamo | None = None, rules: LoginRules = RULES
    ) -> Accounts:
        tokens = cast(AccessTokens, StubTokens())
        made = (dynamo or Dynamo(self.client), self.table, tokens, passwords or Passwords(), rules)
        return Accounts(*made, self.clock)

    def sessions(self) -> list[dict[str, str]]:
        return [item for item in scan(self.client, self.table) if item["sk"].startswith("session#")]


@pytest.fixture
def store(cheap_hashes: None, access_table: str, aws_clients: dict[str, Any]) -> Store:
    return Store(aws_clients["dynamodb"], access_table)


@dataclass
class Recorder:
    """What is done to find out whether somebody may log in."""

    steps: list[str] = field(default_factory=list)
    compared: list[argon2.Parameters] = field(default_factory=list)

    def take(self) -> tuple[list[str], list[argon2.Parameters]]:
        taken = (self.steps[:], self.compared[:])
        self.steps.clear()
        self.compared.clear()
        return taken


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Callable[[Api], Recorder]:
    """Records what an API does from now on."""

    def record(api: Api) -> Recorder:
        made = Recorder()
        api.module.dynamo.client.meta.events.register(
            "before-call.dynamodb", lambda model, **_: made.steps.append(model.name)
        )
        matches = Passwords.matches

        def recorded(self: Passwords, hashed: str, password: str) -> bool:
            made.compared.append(argon2.extract_parameters(hashed))
            return matches(self, hashed, password)

        monkeypatch.setattr(Passwords, "matches", recorded)
        return made

    return record


def lasting_headers(response: Response) -> list[tuple[bytes, bytes]]:
    """The headers that do not depend on when the request came."""
    passing = (b"ratelimit", b"retry-after")
    return [(name, value) for name, value in response.headers.raw if name.lower() not in passing]


def test_an_admin_makes_an_account_and_gives_it_scopes(api: Api) -> None:
    body = {"email": EMAIL, "password": PASSWORD, "scopes": ["admin", "ingest"]}

    response = api.send("/auth/register", body, api.admin)

    assert response.status_code == 201
    assert response.json().keys() == {"account_id", "email", "scopes", "project"}
    assert response.json()["email"] == EMAIL
    assert set(response.json()["scopes"]) == {"admin", "ingest"}
    api.assert_alive(api.login())


def test_an_account_may_read_unless_an_admin_says_otherwise(api: Api) -> None:
    response = api.send("/auth/register", {"email": EMAIL, "password": PASSWORD}, api.admin)

    assert response.json()["scopes"] == ["read"]
    assert_problem(api.use(api.login()), 403, "missing_scope")


@pytest.mark.parametrize(
    ("scopes", "status", "code"), [(None, 401, "unauthenticated"), (["ingest", "read"], 403, "missing_scope")]
)
def test_nobody_but_an_admin_makes_an_account_where_registration_is_closed(
    api: Api,
    access_table: str,
    aws_clients: dict[str, Any],
    scopes: list[str] | None,
    status: int,
    code: str,
) -> None:
    keys = ApiKeys(Dynamo(aws_clients["dynamodb"]), access_table)
    credential = {"X-API-Key": keys.create("test", scopes, "http")[1]} if scopes else {}

    assert_problem(api.send("/auth/register", {"email": EMAIL, "password": PASSWORD}, credential), status, code)

    assert_problem(api.try_to_login(), 401, "wrong_credentials")


@pytest.mark.parametrize("asked", [{}, {"scopes": None}, {"scopes": ["read"]}])
def test_anybody_makes_an_account_that_may_read_where_registration_is_open(
    load_api: Callable[..., Api], asked: dict[str, object]
) -> None:
    api = load_api(OPEN_REGISTRATION="true")

    response = api.send("/auth/register", {"email": EMAIL, "password": PASSWORD, **asked})

    assert response.status_code == 201
    assert response.json()["scopes"] == ["read"]
    assert_problem(api.use(api.login()), 403, "missing_scope")


@pytest.mark.parametrize("scopes", [["admin"], ["ingest"], ["read", "admin"]])
def test_nobody_gives_themselves_scopes_where_registration_is_open(
    load_api: Callable[..., Api], scopes: list[str]
) -> None:
    api = load_api(OPEN_REGISTRATION="true")

    response = api.send("/auth/register", {"email": EMAIL, "password": PASSWORD, "scopes": scopes})

    assert assert_problem(response, 403, "missing_scope")["parameter"] == "scopes"
    assert_problem(api.try_to_login(), 401, "wrong_credentials")


def test_an_admin_gives_scopes_where_registration_is_open_and_a_bad_credential_is_refused(
    load_api: Callable[..., Api],
) -> None:
    api = load_api(OPEN_REGISTRATION="true")
    body = {"email": EMAIL, "password": PASSWORD}

    assert_problem(api.send("/auth/register", body, {"X-API-Key": "garbage"}), 401, "invalid_credential")
    api.register()

    api.assert_alive(api.login())


@pytest.mark.parametrize("email", [EMAIL, "ADA@Example.COM", f"  {EMAIL}\t"])
def test_an_email_has_one_account_however_it_is_written(api: Api, email: str) -> None:
    api.register()

    response = api.send("/auth/register", {"email": email, "password": OTHER_PASSWORD}, api.admin)

    assert assert_problem(response, 409, "account_exists")["parameter"] == "email"
    api.assert_alive(api.login(email))
    assert_problem(api.try_to_login(email, OTHER_PASSWORD), 401, "wrong_credentials")


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"email": ""}, "email"),
        ({"email": "ada"}, "email"),
        ({"email": "@example.com"}, "email"),
        ({"email": "ada@"}, "email"),
        ({"email": "ada@one@example.com"}, "email"),
        ({"email": "ada lovelace@example.com"}, "email"),
        ({"email": "a\u200bda@example.com"}, "email"),
        ({"email": "ada@example.com\u202e"}, "email"),
        ({"email": "ada@example.com\nBcc: bob@example.com"}, "email"),
        ({"email": "ada\0@example.com"}, "email"),
        ({"email": f"{'a' * 65}@example.com"}, "email"),
        ({"email": f"ada@{'a' * MAX_EMAIL_CHARACTERS}"}, "email"),
        ({"password": ""}, "password"),
        ({"password": "green bottl"}, "password"),
        ({"password": f"{PASSWORD:.<257}"}, "password"),
        ({"scopes": ["root"]}, "scopes"),
        ({"scopes": "admin"}, "scopes"),
    ],
)
def test_a_bad_field_of_an_account_is_a_422_that_names_it_and_does_not_repeat_the_password(
    api: Api, changes: dict[str, object], parameter: str
) -> None:
    body = {"email": EMAIL, "password": PASSWORD, **changes}

    response = api.send("/auth/register", body, api.admin)

    assert assert_problem(response, 422, "invalid_field")["parameter"] == parameter
    assert "green bottl" not in response.text


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (EMAIL, "green bottle"),
        (EMAIL, f"{PASSWORD:.<256}"),
        (EMAIL, "🍾 green bottles \0\n"),
        (f"ada@{'a' * (MAX_EMAIL_CHARACTERS - 4)}", PASSWORD),
    ],
)
def test_emails_and_passwords_up_to_their_limits_make_accounts(api: Api, email: str, password: str) -> None:
    api.register(email, password)

    api.assert_alive(api.login(email, password))
    assert_problem(api.try_to_login(email, f"{password[:-1]}-"), 401, "wrong_credentials")


def test_passwords_and_tokens_are_kept_as_hashes_alone(
    load_handler: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    api_key: str,
    access_table: str,
    aws_clients: dict[str, Any],
) -> None:
    # As it is outside the tests.
    monkeypatch.setattr("rollcall.access.passwords.PasswordHasher", argon2.PasswordHasher)
    api = Api(load_handler("auth"), api_key)
    account_id = api.register()
    tokens = api.login()

    items = list(scan(aws_clients["dynamodb"], access_table))

    (account,) = [item for item in items if item["pk"] == f"account#{account_id}" and item["sk"] == "-"]
    parameters = argon2.extract_parameters(account["password"])
    assert parameters.type == argon2.Type.ID
    # OWASP's least for Argon2id.
    assert parameters.memory_cost >= 19 * 1024
    assert parameters.time_cost >= 2
    assert parameters.salt_len >= 16
    _, _, _, family, own = tokens["refresh_token"].split("_")
    for secret in (PASSWORD, family, own, tokens["access_token"], api.key.rpartition("_")[2]):
        assert secret not in repr(items)


def test_two_accounts_of_one_password_have_different_hashes(store: Store) -> None:
    accounts = store.accounts()
    for email in (EMAIL, "bob@example.com"):
        accounts.register(email, PASSWORD, ["read"])

    assert len({item["password"] for item in scan(store.client, store.table) if "password" in item}) == 2


def test_a_login_answers_tokens_and_how_long_they_are_good(api: Api) -> None:
    api.register()

    response = api.try_to_login()

    tokens = response.json()
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert tokens.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in"}
    assert (tokens["token_type"], tokens["expires_in"], tokens["refresh_expires_in"]) == ("Bearer", 900, 604_800)
    assert (ACCESS_SECONDS, REFRESH_SECONDS) == (900, 604_800)
    api.assert_alive(tokens)


def test_a_wrong_password_and_an_unknown_email_are_answered_alike_after_the_same_steps(
    api: Api, recorder: Callable[[Api], Recorder]
) -> None:
    api.register()
    made = recorder(api)

    for _ in range(2):
        wrong = api.try_to_login(EMAIL, WRONG_PASSWORD)
        steps_of_wrong, compared_with_wrong = made.take()
        unknown = api.try_to_login("bob@example.com", WRONG_PASSWORD)
        steps_of_unknown, compared_with_unknown = made.take()

        assert_problem(wrong, 401, "wrong_credentials")
        assert (wrong.status_code, wrong.content) == (unknown.status_code, unknown.content)
        assert lasting_headers(wrong) == lasting_headers(unknown)
        assert wrong.headers["www-authenticate"] == "Bearer"
        assert steps_of_wrong == steps_of_unknown
        assert steps_of_wrong
        assert compared_with_wrong == compared_with_unknown
        assert len(compared_with_wrong) == 1


def try_from_everywhere(api: Api, email: str, tries: int) -> list[int]:
    """The statuses of wrong passwords, each from another address."""
    return [api.try_to_login(email, WRONG_PASSWORD, f"198.51.100.{n}").status_code for n in range(tries)]


def test_wrong_passwords_from_one_address_lock_nobody_out_at_another(load_api: Callable[..., Api]) -> None:
    api = load_api(LOGIN_BURST="3", LOGINS_PER_MINUTE=NEVER)
    api.register()
    tries = [api.try_to_login(EMAIL, WRONG_PASSWORD, "198.51.100.1").status_code for _ in range(5)]

    assert tries == [401, 401, 401, 429, 429]
    # Neither where the account was used before nor where it was not.
    for address in (ADDRESS, ADDRESS, "192.0.2.2"):
        assert api.try_to_login(address=address).status_code == 200
    assert api.try_to_login(address="198.51.100.1").status_code == 429


def test_guesses_from_many_addresses_together_are_bounded_for_an_account_and_for_none(
    load_api: Callable[..., Api],
) -> None:
    api = load_api(ACCOUNT_LOGIN_BURST="6", ACCOUNT_LOGINS_PER_HOUR="3.6")
    for email in (EMAIL, "carol@example.com"):
        api.register(email)
    refused = []
    for email in (EMAIL, "bob@example.com"):
        for number, written in enumerate((email, email.upper(), f" {email}") * 2):
            response = api.try_to_login(written, WRONG_PASSWORD, f"192.0.2.{number}")
            assert_problem(response, 401, "wrong_credentials")
        # Not even the right password is let in from an address that the account was never used from.
        refused += [api.try_to_login(email, PASSWORD, "198.51.100.1"), api.try_to_login(email, WRONG_PASSWORD)]

    for response in refused:
        assert_problem(response, 429, "too_many_requests")
        assert 1 <= int(response.headers["retry-after"]) <= 1_000
        assert response.headers["ratelimit"].startswith('"bucket";r=0;')
        assert response.content == refused[0].content
        assert lasting_headers(response) == lasting_headers(refused[0])
    api.login("carol@example.com")


def test_the_owner_gets_in_from_where_they_were_before_while_others_spend_the_accounts_bucket(
    load_api: Callable[..., Api],
) -> None:
    api = load_api(ACCOUNT_LOGIN_BURST="6", ACCOUNT_LOGINS_PER_HOUR=NEVER)
    for email in (EMAIL, "carol@example.com"):
        api.register(email)
    api.login()
    assert try_from_everywhere(api, EMAIL, 7) == [401] * 5 + [429] * 2

    api.assert_alive(api.login(), api.login())
    assert api.try_to_login(address="192.0.2.2").status_code == 429
    # What is known of one account is nothing to another one.
    assert try_from_everywhere(api, "carol@example.com", 7)[-1] == 429
    assert api.try_to_login("carol@example.com").status_code == 429


def test_an_address_of_the_owner_tells_nobody_that_there_is_an_account(
    load_api: Callable[..., Api], access_table: str, recorder: Callable[[Api], Recorder]
) -> None:
    api = load_api(ACCOUNT_LOGIN_BURST="6", ACCOUNT_LOGINS_PER_HOUR=NEVER)
    api.register()
    api.login()
    made = recorder(api)
    # The owner's own login took a token too.
    assert try_from_everywhere(api, EMAIL, 5) + try_from_everywhere(api, "bob@example.com", 6) == [401] * 11
    made.take()

    known, steps_of_known = api.try_to_login(EMAIL, WRONG_PASSWORD), made.take()
    unknown, steps_of_unknown = api.try_to_login("bob@example.com", WRONG_PASSWORD), made.take()

    for response in (known, unknown):
        assert_problem(response, 429, "too_many_requests")
    assert known.content == unknown.content
    assert lasting_headers(known) == lasting_headers(unknown)
    assert steps_of_known == steps_of_unknown
    assert len(steps_of_known[1]) == 1


def test_an_address_is_the_owners_for_as_long_as_a_session_may_live(store: Store) -> None:
    rules = RULES._replace(tries_in_all=Limit(1e-9, 2))
    accounts = store.accounts(rules=rules)
    accounts.register(EMAIL, PASSWORD, ["read"])
    for _ in range(2):
        accounts.login(EMAIL, PASSWORD, ADDRESS)
    store.clock.now += rules.session_seconds - 1
    accounts.login(EMAIL, PASSWORD, ADDRESS)
    store.clock.now += rules.session_seconds - 1
    accounts.login(EMAIL, PASSWORD, ADDRESS)
    store.clock.now += rules.session_seconds
    with pytest.raises(TooFast):
        accounts.login(EMAIL, PASSWORD, ADDRESS)


def test_the_defaults_allow_as_many_guesses_a_day_as_the_documents_say() -> None:
    defaults = {name: int(each["Default"]) for name, each in template()["Parameters"].items() if "Login" in name}
    everywhere = 24 * defaults["AccountLoginsPerHour"]
    at_home = 24 * 60 * defaults["LoginsPerMinute"]

    said = (ROOT / "docs/access.md").read_text()
    assert f"{everywhere:,} guesses a day" in said
    assert f"{defaults['AccountLoginBurst'] + everywhere:,} on the first day" in said
    assert f"{at_home:,} a day" in said


def test_guesses_at_the_login_do_not_keep_the_owner_from_changing_the_password(load_api: Callable[..., Api]) -> None:
    api = load_api(LOGIN_BURST="3", LOGINS_PER_MINUTE=NEVER, ACCOUNT_LOGIN_BURST="4", ACCOUNT_LOGINS_PER_HOUR=NEVER)
    api.register()
    tokens = api.login()
    statuses = [api.try_to_login(EMAIL, WRONG_PASSWORD).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert try_from_everywhere(api, EMAIL, 3)[-1] == 429

    assert api.change(tokens, PASSWORD, OTHER_PASSWORD).status_code == 204


def test_each_session_may_try_so_many_passwords_to_change_them_and_no_more(load_api: Callable[..., Api]) -> None:
    api = load_api(LOGIN_BURST="3", LOGINS_PER_MINUTE=NEVER)
    api.register()
    copied, own = api.login(), api.login()
    for _ in range(3):
        assert_problem(api.change(copied, WRONG_PASSWORD, OTHER_PASSWORD), 403, "wrong_password")

    response = api.change(copied, PASSWORD, OTHER_PASSWORD)

    assert_problem(response, 429, "too_many_requests")
    assert int(response.headers["retry-after"]) >= 1
    api.assert_alive(copied)
    # A refreshed session is the same one, and who copied a session cannot spend what another may try.
    refreshed: SignIn = api.refresh(copied["refresh_token"]).json()
    assert api.change(refreshed, PASSWORD, OTHER_PASSWORD).status_code == 429
    assert api.change(own, PASSWORD, OTHER_PASSWORD).status_code == 204
    api.assert_ended(copied, own)


@pytest.mark.parametrize("refused", ["login", "refresh", "logout", "register"])
def test_an_address_has_one_bucket_for_all_that_asks_for_no_credential(
    load_api: Callable[..., Api], refused: str
) -> None:
    api = load_api(OPEN_REGISTRATION="true", ADDRESS_BURST="4", ADDRESS_REQUESTS_PER_MINUTE=NEVER)
    who = {"email": EMAIL, "password": PASSWORD}
    bodies: dict[str, object] = {
        "login": who,
        "refresh": {"refresh_token": "garbage"},
        "logout": {"refresh_token": "garbage"},
        "register": who,
    }
    allowed = [api.send(f"/auth/{route}", body) for route, body in bodies.items()]

    response = api.send(f"/auth/{refused}", bodies[refused], {"X-Forwarded-For": "198.51.100.1"})

    assert [each.status_code for each in allowed] == [401, 401, 204, 201]
    assert [each.headers["ratelimit"].split(";")[1] for each in allowed] == ["r=3", "r=2", "r=1", "r=0"]
    assert {each.headers["ratelimit-policy"] for each in allowed} == {'"bucket";q=4;w=4000'}
    assert_problem(response, 429, "too_many_requests")
    assert 1 <= int(response.headers["retry-after"]) <= 1_000
    assert api.send(f"/auth/{refused}", bodies[refused], address="198.51.100.1").status_code != 429


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:DB8:0:0:8000::", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("2001:db8::1", "2001:db9::1", False),
        ("2001:db8::1", "192.0.2.1", False),
    ],
)
def test_addresses_of_one_subscriber_share_a_bucket_and_others_do_not(
    load_api: Callable[..., Api], first: str, second: str, shared: bool
) -> None:
    api = load_api(ADDRESS_BURST="1", ADDRESS_REQUESTS_PER_MINUTE=NEVER)
    body = {"refresh_token": "garbage"}

    statuses = [api.send("/auth/logout", body, address=address).status_code for address in (first, second)]

    assert statuses == [204, 429 if shared else 204]


def test_behind_api_gateway_the_address_is_the_one_that_it_saw(load_api: Callable[..., Api]) -> None:
    api = load_api(ADDRESS_BURST="1", ADDRESS_REQUESTS_PER_MINUTE=NEVER)
    statuses = []
    for seen, claimed in (("192.0.2.1", "192.0.2.1"), ("192.0.2.1", "198.51.100.1"), ("198.51.100.1", "192.0.2.1")):
        event = sample_event("auth")
        event["requestContext"]["identity"]["sourceIp"] = seen
        event["headers"]["X-Forwarded-For"] = claimed
        event["multiValueHeaders"]["X-Forwarded-For"] = [claimed]
        statuses.append(api.module.handler(event, LAMBDA_CONTEXT)["statusCode"])

    assert statuses == [401, 429, 401]


def test_a_refresh_gives_new_tokens_of_the_same_session(api: Api) -> None:
    api.register()
    first = api.login()

    response = api.refresh(first["refresh_token"])

    second: SignIn = response.json()
    assert response.status_code == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert second.keys() == first.keys()
    api.assert_alive(first, second)
    assert api.refresh(second["refresh_token"]).status_code == 200


def test_a_refresh_token_that_comes_again_ends_its_session_for_everybody_and_no_other(api: Api) -> None:
    api.register()
    other, first = api.login(), api.login()
    second: SignIn = api.refresh(first["refresh_token"]).json()

    replayed = api.refresh(first["refresh_token"])

    assert_problem(replayed, 401, "invalid_refresh_token")
    assert replayed.headers["www-authenticate"] == "Bearer"
    api.assert_ended(first, second)
    api.assert_alive(other)


def forgeries(token: str, other: str) -> Iterator[str]:
    """Tokens that somebody could make up who knows the ids but none of the secrets."""
    prefix, account, session, family, own = token.split("_")
    yield "_".join((prefix, account, session, "0" * 32, own))
    yield "_".join((prefix, account, session, "0" * 32, "0" * 48))
    yield "_".join((prefix, account, session, *other.split("_")[3:]))
    yield "_".join((prefix, account, other.split("_")[2], family, own))
    yield "_".join((prefix, "0" * 32, session, family, own))
    yield token.upper()
    yield f"{token}0"
    yield f" {token}"
    yield "garbage"
    yield ""


def test_a_forged_refresh_token_is_refused_and_ends_nothing(api: Api) -> None:
    for email in (EMAIL, "bob@example.com"):
        api.register(email)
    tokens, other = api.login(), api.login("bob@example.com")

    for forged in forgeries(tokens["refresh_token"], other["refresh_token"]):
        assert_problem(api.refresh(forged), 401, "invalid_refresh_token")
        assert api.logout(forged).status_code == 204

    for each in (tokens, other):
        api.assert_alive(each)
        assert api.refresh(each["refresh_token"]).status_code == 200


@pytest.mark.parametrize("used", [False, True])
def test_a_logout_ends_the_session_of_a_used_and_of_an_unused_token(api: Api, used: bool) -> None:
    api.register()
    other, tokens = api.login(), api.login()
    newest: SignIn = api.refresh(tokens["refresh_token"]).json() if used else tokens

    response = api.logout(tokens["refresh_token"])

    assert (response.status_code, response.content) == (204, b"")
    api.assert_ended(tokens, newest)
    api.assert_alive(other)
    assert api.logout(tokens["refresh_token"]).status_code == 204


def test_a_refresh_token_is_good_for_seven_days_from_when_it_was_issued(store: Store) -> None:
    accounts = store.accounts()
    accounts.register(EMAIL, PASSWORD, ["read"])
    pair = accounts.login(EMAIL, PASSWORD, ADDRESS)

    store.clock.now += REFRESH_SECONDS - 1
    pair = accounts.refresh(pair.refresh_token)
    store.clock.now += REFRESH_SECONDS

    with pytest.raises(InvalidRefreshToken, match="expired"):
        accounts.refresh(pair.refresh_token)


def test_a_session_lives_for_its_days_at_most_however_often_it_is_refreshed(store: Store) -> None:
    rules = RULES._replace(session_seconds=20 * 86_400)
    accounts = store.accounts(rules=rules)
    accounts.register(EMAIL, PASSWORD, ["read"])
    began = store.clock.now
    pair = accounts.login(EMAIL, PASSWORD, ADDRESS)
    left = []
    while store.clock.now < began + 18 * 86_400:
        store.clock.now += 6 * 86_400
        pair = accounts.refresh(pair.refresh_token)
        left.append(pair.refresh_seconds // 86_400)
    store.clock.now = began + rules.session_seconds - 60
    pair = accounts.refresh(pair.refresh_token)

    assert left == [7, 7, 2]
    assert (pair.access_seconds, pair.refresh_seconds) == (60, 60)
    (session,) = store.sessions()
    assert int(session["expires_at"]) == began + rules.session_seconds
    store.clock.now += 60
    with pytest.raises(InvalidRefreshToken, match="expired"):
        accounts.refresh(pair.refresh_token)


def test_a_session_that_began_before_sessions_had_an_end_gets_one_when_it_is_refreshed(store: Store) -> None:
    rules = RULES._replace(session_seconds=8 * 86_400)
    accounts = store.accounts(rules=rules)
    accounts.register(EMAIL, PASSWORD, ["read"])
    pair = accounts.login(EMAIL, PASSWORD, ADDRESS)
    (session,) = store.sessions()
    store.client.update_item(
        TableName=store.table,
        Key={"pk": {"S": session["pk"]}, "sk": {"S": session["sk"]}},
        UpdateExpression="REMOVE ends_at, began_at",
    )

    for _ in range(2):
        pair = accounts.refresh(pair.refresh_token)
        store.clock.now += 4 * 86_400

    with pytest.raises(InvalidRefreshToken, match="expired"):
        accounts.refresh(pair.refresh_token)


def test_the_days_of_a_session_are_the_stacks(load_api: Callable[..., Api]) -> None:
    api = load_api(SESSION_DAYS="3")
    api.register()
    answer = api.try_to_login().json()
    assert (answer["expires_in"], answer["refresh_expires_in"]) == (900, 3 * 86_400)


def test_an_admin_sees_the_sessions_of_an_account_and_ends_one_or_all(api: Api) -> None:
    account_id = api.register()
    other = api.register("bob@example.com")
    sessions = [api.login() for _ in range(3)]
    of_other = api.login("bob@example.com")
    api.refresh(sessions[0]["refresh_token"])

    found = api.admin_asks("GET", "/accounts?email=ADA%40example.com").json()
    assert found == {
        "account_id": account_id,
        "email": EMAIL,
        "scopes": list(SCOPES),
        "project": "*",
        "disabled_at": None,
    }
    listed = api.admin_asks("GET", f"/accounts/{account_id}/sessions").json()["sessions"]

    ids = [token["refresh_token"].split("_")[2] for token in sessions]
    assert sorted(each["session_id"] for each in listed) == sorted(ids)
    assert [each["session_id"] for each in listed if each["refreshed_at"]] == [ids[0]]
    assert all(each["began_at"] < each["expires_at"] < each["ends_at"] for each in listed)
    assert not any(secret in str(listed) for token in sessions for secret in token["refresh_token"].split("_")[3:])
    assert api.admin_asks("DELETE", f"/accounts/{account_id}/sessions/{ids[1]}").status_code == 204
    api.assert_ended(sessions[1])
    api.assert_alive(sessions[0], sessions[2])
    assert_problem(api.admin_asks("DELETE", f"/accounts/{account_id}/sessions/{ids[1]}"), 404, "unknown_session")
    assert_problem(api.admin_asks("DELETE", f"/accounts/{other}/sessions/{ids[2]}"), 404, "unknown_session")
    assert api.admin_asks("DELETE", f"/accounts/{account_id}/sessions").status_code == 204
    api.assert_ended(*sessions[1:])
    assert api.admin_asks("GET", f"/accounts/{account_id}/sessions").json() == {"sessions": []}
    api.assert_alive(of_other, api.login())


def test_an_admin_lists_all_accounts_by_email_and_none_of_their_secrets(api: Api) -> None:
    ids = {email: api.register(email, scopes=["read"]) for email in ("bob@example.com", "ada@example.com")}
    api.admin_asks("POST", f"/accounts/{ids['bob@example.com']}/disable")

    found = api.admin_asks("GET", "/accounts").json()["accounts"]

    assert [each["email"] for each in found] == ["ada@example.com", "bob@example.com"]
    assert [each["account_id"] for each in found] == [ids[each["email"]] for each in found]
    assert [each["disabled_at"] is None for each in found] == [True, False]
    assert {name for each in found for name in each} == {"account_id", "email", "scopes", "project", "disabled_at"}


def test_an_admin_of_a_project_lists_the_accounts_of_that_project_alone(store: Store) -> None:
    shop, garden = Reach(Project("shop")), Reach(Project("garden"))
    for email, reach in (("ada@example.com", shop), ("bob@example.com", garden), ("eve@example.com", ALL)):
        store.accounts().register(email, PASSWORD, ["read"], reach)
    directory = Directory(Dynamo(store.client), store.table)

    assert [each.email for each in directory.all(shop)] == ["ada@example.com"]
    assert [each.email for each in directory.all(ALL)] == ["ada@example.com", "bob@example.com", "eve@example.com"]


def test_an_account_of_before_there_was_a_list_gets_into_it_by_logging_in(store: Store) -> None:
    account_id = store.accounts().register(EMAIL, PASSWORD, ["read"]).account_id
    entry = {"pk": {"S": ACCOUNTS_KEY}, "sk": {"S": account_id}}
    store.client.delete_item(TableName=store.table, Key=entry)
    directory = Directory(Dynamo(store.client), store.table)
    assert directory.all(ALL) == []

    store.accounts().login(EMAIL, PASSWORD, "192.0.2.1")

    assert [each.account_id for each in directory.all(ALL)] == [account_id]


def test_an_email_that_has_an_account_gets_no_other_one_and_no_other_entry(store: Store) -> None:
    store.accounts().register(EMAIL, PASSWORD, ["read"], Reach(Project("shop")))

    with pytest.raises(AccountExists):
        store.accounts().register(EMAIL, PASSWORD, ["read"], Reach(Project("garden")))

    (found,) = Directory(Dynamo(store.client), store.table).all(ALL)
    assert found.reach == Reach(Project("shop"))


def test_a_disabled_account_can_neither_log_in_nor_refresh_nor_use_an_access_token_until_it_is_enabled(
    api: Api, recorder: Callable[[Api], Recorder]
) -> None:
    account_id = api.register()
    api.register("bob@example.com")
    sessions, of_other = [api.login() for _ in range(2)], api.login("bob@example.com")

    for _ in range(2):
        assert api.admin_asks("POST", f"/accounts/{account_id}/disable").status_code == 204

    since = api.admin_asks("GET", f"/accounts?email={EMAIL}").json()["disabled_at"]
    assert since
    api.assert_ended(*sessions)
    made = recorder(api)
    right, steps_of_right = api.try_to_login(), made.take()
    wrong, steps_of_wrong = api.try_to_login(EMAIL, WRONG_PASSWORD), made.take()
    assert_problem(right, 401, "wrong_credentials")
    assert (right.content, lasting_headers(right)) == (wrong.content, lasting_headers(wrong))
    assert steps_of_right == steps_of_wrong
    api.assert_alive(of_other, api.login("bob@example.com"))
    assert api.admin_asks("POST", f"/accounts/{account_id}/enable").status_code == 204
    api.assert_ended(*sessions)
    api.assert_alive(api.login())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/accounts?email=nobody@example.com"),
        ("GET", "/accounts/{}/sessions"),
        ("DELETE", "/accounts/{}/sessions"),
        ("DELETE", f"/accounts/{{}}/sessions/{SESSION}"),
        ("POST", "/accounts/{}/disable"),
        ("POST", "/accounts/{}/enable"),
    ],
)
@pytest.mark.parametrize("account_id", ["0" * 32, "nobody", "0" * 33])
def test_an_account_that_is_not_there_is_a_404_and_is_not_made(
    api: Api, access_table: str, aws_clients: dict[str, Any], method: str, path: str, account_id: str
) -> None:
    assert_problem(api.admin_asks(method, path.format(account_id)), 404, "unknown_account")
    assert not [item for item in scan(aws_clients["dynamodb"], access_table) if item["pk"].startswith("account#")]


@pytest.mark.parametrize("began", [True, False], ids=["refresh", "login"])
def test_who_is_disabled_while_they_log_in_or_refresh_has_no_session(store: Store, began: bool) -> None:
    accounts, directory = store.accounts(), Directory(Dynamo(store.client), store.table, store.clock)
    account_id = accounts.register(EMAIL, PASSWORD, ["read"]).account_id
    token = accounts.login(EMAIL, PASSWORD, ADDRESS).refresh_token
    late = store.accounts(dynamo=RacingDynamo(store.client, lambda: directory.disable(account_id, ALL)))

    if began:
        with pytest.raises(InvalidRefreshToken):
            late.refresh(token)
    else:
        with pytest.raises(WrongPassword):
            late.login(EMAIL, PASSWORD, ADDRESS)

    assert store.sessions() == []


def test_of_two_refreshes_at_once_by_one_token_one_succeeds_and_the_session_ends(store: Store) -> None:
    accounts = store.accounts()
    accounts.register(EMAIL, PASSWORD, ["read"])
    token = accounts.login(EMAIL, PASSWORD, ADDRESS).refresh_token
    won: list[TokenPair] = []
    late = store.accounts(dynamo=RacingDynamo(store.client, lambda: won.append(accounts.refresh(token))))

    with pytest.raises(InvalidRefreshToken):
        late.refresh(token)

    assert len(won) == 1
    assert store.sessions() == []
    with pytest.raises(InvalidRefreshToken):
        accounts.refresh(won[0].refresh_token)


def test_a_session_that_is_ended_while_it_is_refreshed_stays_ended(store: Store) -> None:
    accounts = store.accounts()
    accounts.register(EMAIL, PASSWORD, ["read"])
    token = accounts.login(EMAIL, PASSWORD, ADDRESS).refresh_token
    late = store.accounts(dynamo=RacingDynamo(store.client, lambda: accounts.logout(token)))

    with pytest.raises(InvalidRefreshToken):
        late.refresh(token)

    assert store.sessions() == []


def test_a_login_that_a_change_of_the_password_overtakes_begins_no_session(store: Store) -> None:
    accounts = store.accounts()
    account_id = accounts.register(EMAIL, PASSWORD, ["read"]).account_id
    late = store.accounts(
        RacingPasswords(lambda: accounts.change_password(account_id, SESSION, PASSWORD, OTHER_PASSWORD))
    )

    with pytest.raises(WrongPassword):
        late.login(EMAIL, PASSWORD, ADDRESS)

    assert store.sessions() == []
    accounts.login(EMAIL, OTHER_PASSWORD, ADDRESS)


def test_of_two_changes_of_a_password_at_once_one_succeeds(store: Store) -> None:
    accounts = store.accounts()
    account_id = accounts.register(EMAIL, PASSWORD, ["read"]).account_id
    late = store.accounts(
        RacingPasswords(lambda: accounts.change_password(account_id, SESSION, PASSWORD, OTHER_PASSWORD))
    )

    with pytest.raises(WrongPassword):
        late.change_password(account_id, SESSION, PASSWORD, "seven green bottles")

    accounts.login(EMAIL, OTHER_PASSWORD, ADDRESS)


def test_a_session_that_outlives_the_change_of_its_password_cannot_be_refreshed(store: Store) -> None:
    accounts = store.accounts()
    account_id = accounts.register(EMAIL, PASSWORD, ["read"]).account_id
    token = accounts.login(EMAIL, PASSWORD, ADDRESS).refresh_token
    key = {"pk": {"S": f"account#{account_id}"}, "sk": {"S": store.sessions()[0]["sk"]}}
    session = store.client.get_item(TableName=store.table, Key=key)["Item"]
    accounts.change_password(account_id, SESSION, PASSWORD, OTHER_PASSWORD)
    store.client.put_item(TableName=store.table, Item=session)

    with pytest.raises(InvalidRefreshToken):
        accounts.refresh(token)


def test_a_changed_password_ends_every_session_of_its_account_and_of_no_other(api: Api) -> None:
    for email in (EMAIL, "bob@example.com"):
        api.register(email)
    sessions = [api.login() for _ in range(3)]
    sessions.append(api.refresh(sessions[0]["refresh_token"]).json())
    other = api.login("bob@example.com")

    response = api.change(sessions[1], PASSWORD, OTHER_PASSWORD)

    assert (response.status_code, response.content) == (204, b"")
    api.assert_ended(*sessions)
    api.assert_alive(other, api.login(EMAIL, OTHER_PASSWORD), api.login("bob@example.com"))
    assert_problem(api.try_to_login(), 401, "wrong_credentials")


@pytest.mark.parametrize(
    ("present", "new", "status", "code", "parameter"),
    [
        (WRONG_PASSWORD, OTHER_PASSWORD, 403, "wrong_password", "current_password"),
        ("", OTHER_PASSWORD, 403, "wrong_password", "current_password"),
        (PASSWORD, "green bottl", 422, "invalid_field", "new_password"),
        (PASSWORD, f"{PASSWORD:.<257}", 422, "invalid_field", "new_password"),
        (f"{PASSWORD:.<257}", OTHER_PASSWORD, 422, "invalid_field", "current_password"),
    ],
)
def test_a_change_that_is_refused_changes_no_password_and_ends_no_session(
    api: Api, present: str, new: str, status: int, code: str, parameter: str
) -> None:
    api.register()
    tokens = api.login()

    response = api.change(tokens, present, new)

    assert assert_problem(response, status, code)["parameter"] == parameter
    assert "green bottl" not in response.text
    api.assert_alive(tokens, api.login())


@pytest.mark.parametrize(("registered", "typed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_password_is_the_same_however_a_keyboard_composes_it(api: Api, registered: str, typed: str) -> None:
    forms = {form: unicodedata.normalize(form, "neuf green bottles à la fête") for form in ("NFC", "NFD")}
    assert forms["NFC"] != forms["NFD"]
    api.register(password=forms[registered])

    tokens = api.login(password=forms[typed])
    assert api.change(tokens, forms[typed], OTHER_PASSWORD).status_code == 204

    assert_problem(api.try_to_login(password="neuf green bottles a la fete"), 401, "wrong_credentials")


def text_of(**fields: str) -> bytes:
    """A login with some fields written as they are given."""
    written = {"email": f'"{EMAIL}"', "password": f'"{PASSWORD}"', **fields}
    members = (f'"{name}":{value}' for name, value in written.items())
    return f"{{{','.join(members)}}}".encode()


@pytest.mark.parametrize(
    ("body", "status", "code", "parameter"),
    [
        (b"", 400, "invalid_json", None),
        (b"green bottles", 400, "invalid_json", None),
        (f"email={EMAIL}&password={PASSWORD}".encode(), 400, "invalid_json", None),
        (text_of()[:-1], 400, "invalid_json", None),
        (text_of() + b"\xff", 400, "invalid_json", None),
        (text_of(email='"\x00"'), 400, "invalid_json", None),
        (text_of()[:-1] + b',"email":"bob@example.com"}', 400, "invalid_json", None),
        (text_of(password="NaN"), 400, "invalid_json", None),
        (text_of(password="-Infinity"), 400, "invalid_json", None),
        (text_of(email="[" * 15_000), 400, "invalid_json", None),
        (b'{"email":"\xed\xa0\x80","password":"nine green bottles"}', 400, "invalid_json", None),
        (b"[]", 422, "invalid_field", "body"),
        (b"null", 422, "invalid_field", "body"),
        (b'"green bottles"', 422, "invalid_field", "body"),
        (b"{}", 422, "invalid_field", "email"),
        (f'{{"email":"{EMAIL}"}}'.encode(), 422, "invalid_field", "password"),
        (text_of(scopes='["admin"]'), 422, "invalid_field", "scopes"),
        (text_of(email="1"), 422, "invalid_field", "email"),
        (text_of(email="9" * 5_000), 422, "invalid_field", "email"),
        (text_of(password="null"), 422, "invalid_field", "password"),
        (text_of(password='{"green bottles":1,"green bottles":2}'), 422, "invalid_field", "password"),
        (text_of(password=f'["{PASSWORD}"]'), 422, "invalid_field", "password"),
        (text_of(email=f'"{"a" * 20 * 1024}"'), 413, "too_large", None),
        (text_of(**{"a" * 129: "1"}), 422, "invalid_field", "a" * 128 + "… (129 characters)"),
    ],
    ids=range(24),
)
def test_a_body_that_is_no_login_is_refused_with_the_reason(
    api: Api, body: bytes, status: int, code: str, parameter: str | None
) -> None:
    api.register()

    response = api.send("/auth/login", body)

    assert assert_problem(response, status, code).get("parameter") == parameter
    assert "green bottles" not in response.text


@pytest.mark.parametrize(
    "body",
    [
        text_of(email=r'"\ud800@example.com"'),
        text_of(password=r'"nine green bottles \udfff"'),
        text_of()[:-1] + rb',"\ud800":1}',
        text_of(email="[" * 8_000 + "]" * 8_000),
        text_of(password='{"a":' * 2_000 + "1" + "}" * 2_000),
    ],
    ids=["email", "password", "field", "deep array", "deep object"],
)
def test_what_is_json_but_no_text_is_the_clients_fault(api: Api, body: bytes) -> None:
    response = api.send("/auth/login", body)

    assert response.status_code in (400, 422)
    assert_problem(response, response.status_code, "invalid_json" if response.status_code == 400 else "invalid_field")


@pytest.mark.parametrize("route", ["register", "login", "refresh", "logout", "change-password"])
@pytest.mark.parametrize(
    ("body", "status"), [(b"green bottles", 400), (b'{"extra":1}', 422), (b"[" * 15_000, 400), (b" " * 20_000, 413)]
)
def test_every_route_of_accounts_reads_its_body_strictly(api: Api, route: str, body: bytes, status: int) -> None:
    api.register()
    credential = {"register": api.admin, "change-password": bearer(api.login())}.get(route)

    response = api.send(f"/auth/{route}", body, credential)

    assert response.status_code == status
    assert_problem(response, status, response.json()["code"])


def test_the_logs_hold_no_password_token_or_key(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    load_api: Callable[..., Api],
    access_table: str,
    aws_clients: dict[str, Any],
) -> None:
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    api = load_api(LOGIN_BURST="5", LOGINS_PER_MINUTE=NEVER)
    secrets = {PASSWORD, OTHER_PASSWORD, WRONG_PASSWORD, api.key}

    def call(route: str, body: dict[str, str], credential: str | None = None) -> tuple[int, dict[str, str]]:
        """As API Gateway calls; what is sent and what is answered are secrets."""
        event = sample_event("auth")
        event |= {"resource": route, "path": route, "body": json.dumps(body)}
        if credential:
            event["headers"]["Authorization"] = f"Bearer {credential}"
            event["multiValueHeaders"]["Authorization"] = [f"Bearer {credential}"]
            secrets.add(credential)
        answer = api.module.handler(event, LAMBDA_CONTEXT)
        found: dict[str, str] = json.loads(answer["body"] or "{}")
        secrets.update(value for name, value in (*body.items(), *found.items()) if name.endswith("_token"))
        return answer["statusCode"], found

    who = {"email": EMAIL, "password": PASSWORD}
    change = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}

    def all_calls() -> Iterator[int]:
        yield call("/auth/register", who, api.key)[0]
        yield call("/auth/register", who, api.key)[0]
        yield call("/auth/login", {**who, "password": WRONG_PASSWORD})[0]
        yield call("/auth/login", {**who, "secret": PASSWORD})[0]
        status, first = call("/auth/login", who)
        yield status
        refresh_token = {"refresh_token": first.get("refresh_token", "garbage green bottles")}
        status, second = call("/auth/refresh", refresh_token)
        yield status
        yield call("/auth/refresh", refresh_token)[0]
        yield call("/auth/logout", {"refresh_token": second.get("refresh_token", "garbage green bottles")})[0]
        yield call("/auth/change-password", change, second.get("access_token", api.key))[0]
        access_token = call("/auth/login", who)[1].get("access_token", api.key)
        yield call("/auth/change-password", {**change, "current_password": WRONG_PASSWORD}, access_token)[0]
        yield call("/auth/change-password", change, access_token)[0]
        yield call("/auth/change-password", change, access_token)[0]

    as_it_should = list(all_calls())
    slowed = [call("/auth/login", who)[0] for _ in range(4)]
    client = aws_clients["dynamodb"]
    (account,) = [item for item in scan(client, access_table) if "email" in item]
    client.update_item(
        TableName=access_table,
        Key={"pk": {"S": account["pk"]}, "sk": {"S": "-"}},
        UpdateExpression="SET #password = :broken",
        ExpressionAttributeNames={"#password": "password"},
        ExpressionAttributeValues={":broken": {"S": "broken"}},
    )
    for item in scan(client, access_table):
        if item["pk"].startswith("bucket#"):
            client.delete_item(TableName=access_table, Key={"pk": {"S": item["pk"]}, "sk": {"S": "-"}})
    broken = call("/auth/login", who)[0]
    client.delete_table(TableName=access_table)
    without_table = set(all_calls())
    parameter = boto3.client("ssm").get_parameter(Name="/rollcall/signing-key", WithDecryption=True)["Parameter"]
    secrets.add(json.loads(parameter["Value"])["secret"])

    output = "".join(capfd.readouterr())
    assert as_it_should == [201, 409, 401, 422, 200, 200, 401, 204, 401, 403, 204, 401]
    assert slowed[-1] == 429
    assert broken == 500
    assert without_table <= {422, 503}
    assert "request failed" in output
    assert "a dependency does not answer" in output
    assert len(secrets) >= 9
    assert [secret for secret in secrets if secret in output] == []
    assert "green bottles" not in output

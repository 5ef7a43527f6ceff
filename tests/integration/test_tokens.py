"""Access tokens, and the signing key that all instances share. No assertion names a token, so that none is printed."""

import base64
import hmac
import itertools
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import boto3
import jwt
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollcall.access.tokens import ACCESS_SECONDS, AccessTokens, ExpiredToken, InvalidToken, SigningKey, TokenClaims
from rollcall.stack.dynamo import Unavailable

REGION = "us-east-1"
NAME = "/test/signing-key"
CLAIMS = TokenClaims("account-1", "session-1")
HS256 = {"alg": "HS256", "typ": "JWT"}
CHATTY = ("boto", "botocore", "moto", "responses", "urllib3", "werkzeug")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def ssm_client() -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        session = boto3.Session("testing", "testing", region_name=REGION)
        return session.client("ssm", endpoint_url=f"https://ssm.{REGION}.amazonaws.com")


@pytest.fixture
def ssm(aws: None, ssm_client: Any) -> Any:
    return ssm_client


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key(ssm: Any, clock: Clock) -> SigningKey:
    return SigningKey(ssm, NAME, clock)


@pytest.fixture
def tokens(key: SigningKey) -> AccessTokens:
    return AccessTokens(key)


@pytest.fixture
def asked(ssm: Any) -> Iterator[mock.Mock]:
    """Counts the reads of the store."""
    with mock.patch.object(ssm, "get_parameter", wraps=ssm.get_parameter) as get:
        yield get


def replace(ssm: Any) -> SigningKey:
    """Have another key made; returns an instance that knows it."""
    ssm.delete_parameter(Name=NAME)
    other = SigningKey(ssm, NAME)
    other.present()
    return other


def reason(tokens: AccessTokens, text: str) -> type[InvalidToken] | None:
    """Why a token is not good; None where it is."""
    try:
        tokens.read(text)
    except InvalidToken as error:
        return type(error)
    return None


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(header: object, payload: object, secret: str, digest: str = "sha256") -> str:
    """A token as somebody makes it whom no library holds back."""
    text = f"{segment(header)}.{segment(payload)}"
    signature = hmac.digest(secret.encode(), text.encode(), digest)
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def payload(**changes: object) -> dict[str, object]:
    """What a good token says, with changes; None leaves a claim out."""
    now = int(time.time())
    good = {"sub": "account-1", "sid": "session-1", "iat": now, "exp": now + 600}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def test_the_signing_key_is_made_once_as_a_secure_string_of_256_bits(ssm: Any, key: SigningKey) -> None:
    secret = key.present().secret
    again = key.present().secret == secret
    assert again
    (stored,) = ssm.describe_parameters()["Parameters"]
    assert (stored["Name"], stored["Type"], stored["Version"]) == (NAME, "SecureString", 1)
    bits = len(bytes.fromhex(secret)) * 8
    assert bits == 256


def test_two_stores_have_two_signing_keys(ssm: Any, key: SigningKey) -> None:
    same = SigningKey(ssm, "/other/signing-key").present().secret == key.present().secret
    assert not same


def test_the_id_of_the_key_does_not_tell_it(key: SigningKey) -> None:
    kid, secret = key.present()
    told = kid in secret or secret in kid
    assert kid
    assert not told


def test_all_instances_read_the_tokens_of_each_other(ssm: Any) -> None:
    one, other = (AccessTokens(SigningKey(ssm, NAME)) for _ in range(2))
    read = [other.read(one.issue(CLAIMS)), one.read(other.issue(CLAIMS))]
    assert read == [CLAIMS, CLAIMS]


def test_instances_that_find_no_key_at_the_same_moment_agree_on_one(ssm: Any) -> None:
    keys = [SigningKey(ssm, NAME) for _ in range(3)]
    real = ssm.get_parameter
    absent = ClientError({"Error": {"Code": "ParameterNotFound"}}, "GetParameter")
    none_yet = [ssm.exceptions.ParameterNotFound(absent.response, "GetParameter")] * len(keys)

    def get_parameter(**request: Any) -> Any:
        if none_yet:
            raise none_yet.pop()
        return real(**request)

    with mock.patch.object(ssm, "get_parameter", get_parameter):
        made = [key.present() for key in keys]
    kinds = len({*made, *(key.present() for key in keys), SigningKey(ssm, NAME).present()})
    assert kinds == 1
    assert ssm.describe_parameters()["Parameters"][0]["Version"] == 1


def test_a_known_key_is_not_asked_for_again_for_five_minutes(key: SigningKey, clock: Clock, asked: mock.Mock) -> None:
    kid = key.present().kid
    asked.reset_mock()
    for _ in range(300):
        clock.now += 1
        assert key.find(kid) is not None
    assert asked.call_count == 0
    clock.now += 1
    assert key.find(kid) is not None
    assert asked.call_count == 1


def test_the_key_to_sign_with_is_asked_for_again_after_half_a_minute(
    key: SigningKey, clock: Clock, asked: mock.Mock
) -> None:
    key.present()
    asked.reset_mock()
    clock.now += 30
    key.present()
    assert asked.call_count == 0
    clock.now += 1
    key.present()
    assert asked.call_count == 1


def test_a_replaced_key_is_not_signed_with_after_half_a_minute(ssm: Any, key: SigningKey, clock: Clock) -> None:
    former = key.present()
    present = replace(ssm).present()
    clock.now += 30
    not_yet = key.present() == former
    clock.now += 1
    noticed = key.present() == present
    forgotten = key.find(former.kid) is None
    assert (not_yet, noticed, forgotten) == (True, True, True)


def test_a_key_that_was_deleted_is_made_anew_after_five_minutes(ssm: Any, key: SigningKey, clock: Clock) -> None:
    former = key.present()
    ssm.delete_parameter(Name=NAME)
    clock.now += 301
    found = key.find(former.kid) is not None
    same = key.present() == former
    assert (found, same) == (False, False)
    assert len(ssm.describe_parameters()["Parameters"]) == 1


def test_a_token_of_a_new_key_is_read_after_ten_seconds(ssm: Any, key: SigningKey, clock: Clock) -> None:
    tokens = AccessTokens(key)
    tokens.issue(CLAIMS)
    token = AccessTokens(replace(ssm)).issue(CLAIMS)
    clock.now += 10
    before = reason(tokens, token)
    clock.now += 1
    after = reason(tokens, token)
    assert (before, after) == (InvalidToken, None)


@pytest.mark.parametrize("there_is_a_key", [True, False])
def test_for_unknown_keys_the_store_is_asked_at_most_once_in_ten_seconds(
    key: SigningKey, clock: Clock, asked: mock.Mock, there_is_a_key: bool
) -> None:
    if there_is_a_key:
        key.present()
        asked.reset_mock()
    times: list[float] = []
    for number in range(200):
        clock.now += 0.5
        for kid in (f"unknown {number}", "unknown", ""):
            calls = asked.call_count
            assert key.find(kid) is None
            times += [clock.now] * (asked.call_count - calls)
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(times))
    assert len(times) >= 9


def test_errors_of_the_store_reach_the_caller_and_are_not_remembered(ssm: Any, tokens: AccessTokens) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetParameter")
    with mock.patch.object(ssm, "get_parameter", side_effect=denied), pytest.raises(ClientError):
        tokens.issue(CLAIMS)
    assert ssm.describe_parameters()["Parameters"] == []
    read = tokens.read(tokens.issue(CLAIMS))
    assert read == CLAIMS


def test_neither_the_key_nor_a_token_is_logged_or_printed_or_in_an_error(
    key: SigningKey, tokens: AccessTokens, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = key.present().secret
    good = tokens.issue(CLAIMS)
    old = AccessTokens(key, lambda: time.time() - 1_200).issue(CLAIMS)
    bad = [old, good[:-4] + "AAAA", signed({**HS256, "kid": "x"}, payload(), secret), "", good.replace(".", "")]
    errors = []
    for text in bad:
        with pytest.raises(InvalidToken) as refused:
            tokens.read(text)
        errors.append(f"{refused.value!r} {refused.value.__cause__!r}")
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith(CHATTY)]
    output = capfd.readouterr()
    told = " ".join([*errors, *logged, output.out, output.err, repr(key), repr(tokens)])
    leaked = [text in told for text in (secret, good, *filter(None, bad))]
    assert not any(leaked)


def test_a_token_tells_whose_it_is_and_nothing_else(tokens: AccessTokens, key: SigningKey) -> None:
    before = int(time.time())
    token = tokens.issue(CLAIMS)
    said = jwt.decode(token, options={"verify_signature": False})
    header = jwt.get_unverified_header(token)
    issued_at = said.pop("iat")
    assert before <= issued_at <= time.time()
    assert said == {"sub": "account-1", "sid": "session-1", "exp": issued_at + ACCESS_SECONDS}
    assert header == {**HS256, "kid": key.present().kid}


@pytest.mark.parametrize(
    "claims", [TokenClaims("a", "b"), TokenClaims("ключ", "é.\0"), TokenClaims("x" * 5_000, "{}")], ids=range(3)
)
def test_what_was_issued_is_read(tokens: AccessTokens, claims: TokenClaims) -> None:
    read = tokens.read(tokens.issue(claims))
    assert read == claims


@pytest.mark.parametrize(("age", "expected"), [(0, None), (890, None), (910, ExpiredToken), (1_200, ExpiredToken)])
def test_a_token_is_good_for_a_quarter_of_an_hour(
    key: SigningKey, tokens: AccessTokens, age: int, expected: type[InvalidToken] | None
) -> None:
    token = AccessTokens(key, lambda: time.time() - age).issue(CLAIMS)
    found = reason(tokens, token)
    assert found is expected


def test_a_token_is_read_by_the_clock_that_was_given(key: SigningKey, clock: Clock) -> None:
    tokens = AccessTokens(key, clock)
    token = tokens.issue(CLAIMS)
    found = [reason(tokens, token)]
    clock.now += ACCESS_SECONDS - 1
    found.append(reason(tokens, token))
    clock.now += 1
    found.append(reason(tokens, token))
    assert found == [None, None, ExpiredToken]


def test_a_token_forged_as_the_library_makes_it_is_read(key: SigningKey, tokens: AccessTokens) -> None:
    kid, secret = key.present()
    read = tokens.read(signed({**HS256, "kid": kid}, payload(), secret))
    assert read == CLAIMS


FORGED: dict[str, Callable[[str, str], str]] = {
    "other secret": lambda kid, secret: signed({**HS256, "kid": kid}, payload(), secrets.token_hex(32)),
    "empty secret": lambda kid, secret: signed({**HS256, "kid": kid}, payload(), ""),
    "id as secret": lambda kid, secret: signed({**HS256, "kid": kid}, payload(), kid),
    "no signature": lambda kid, secret: signed({**HS256, "kid": kid}, payload(), secret).rpartition(".")[0] + ".",
    "half a signature": lambda kid, secret: signed({**HS256, "kid": kid}, payload(), secret)[:-20],
    "two segments": lambda kid, secret: signed({**HS256, "kid": kid}, payload(), secret).rpartition(".")[0],
    "four segments": lambda kid, secret: signed({**HS256, "kid": kid}, payload(), secret) + ".AAAA",
    "none": lambda kid, secret: f"{segment({'alg': 'none', 'kid': kid})}.{segment(payload())}.",
    "None": lambda kid, secret: f"{segment({'alg': 'None', 'kid': kid})}.{segment(payload())}.",
    "none with a signature": lambda kid, secret: signed({"alg": "none", "kid": kid}, payload(), secret),
    "HS384": lambda kid, secret: signed({"alg": "HS384", "kid": kid}, payload(), secret, "sha384"),
    "HS512": lambda kid, secret: signed({"alg": "HS512", "kid": kid}, payload(), secret, "sha512"),
    "RS256": lambda kid, secret: signed({"alg": "RS256", "kid": kid}, payload(), secret),
    "hs256": lambda kid, secret: signed({"alg": "hs256", "kid": kid}, payload(), secret),
    "list of algorithms": lambda kid, secret: signed({"alg": ["HS256"], "kid": kid}, payload(), secret),
    "no algorithm": lambda kid, secret: signed({"kid": kid}, payload(), secret),
    "key of its own": lambda kid, secret: signed(
        {**HS256, "kid": kid, "jwk": {"kty": "oct", "k": "eA"}}, payload(), "x"
    ),
    "no kid": lambda kid, secret: signed(HS256, payload(), secret),
    "null kid": lambda kid, secret: signed({**HS256, "kid": None}, payload(), secret),
    "number as kid": lambda kid, secret: signed({**HS256, "kid": 1}, payload(), secret),
    "list as kid": lambda kid, secret: signed({**HS256, "kid": [kid]}, payload(), secret),
    "object as kid": lambda kid, secret: signed({**HS256, "kid": {"kid": kid}}, payload(), secret),
    "unknown kid": lambda kid, secret: signed({**HS256, "kid": kid[::-1] + "0"}, payload(), secret),
    "surrogate as kid": lambda kid, secret: signed({**HS256, "kid": "\ud800"}, payload(), secret),
    "unknown extension": lambda kid, secret: signed({**HS256, "kid": kid, "crit": ["x"], "x": 1}, payload(), secret),
    "list as header": lambda kid, secret: signed([{**HS256, "kid": kid}], payload(), secret),
    "list as payload": lambda kid, secret: signed({**HS256, "kid": kid}, [payload()], secret),
    "expired with another secret": lambda kid, secret: signed(
        {**HS256, "kid": kid}, payload(iat=1, exp=2), secrets.token_hex(32)
    ),
    "expired without a session": lambda kid, secret: signed(
        {**HS256, "kid": kid}, payload(iat=1, exp=2, sid=None), secret
    ),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_token_is_invalid_and_never_just_expired(
    key: SigningKey, tokens: AccessTokens, forge: Callable[[str, str], str]
) -> None:
    token = forge(*key.present())
    found = reason(tokens, token)
    assert found is InvalidToken


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        *((claim, None) for claim in ("exp", "iat", "sub", "sid")),
        *((claim, 4_000_000_000) for claim in ("iat", "nbf")),
        ("exp", "soon"),
        ("exp", ""),
        ("exp", []),
        ("sub", 5),
    ],
)
def test_a_token_of_the_key_that_lacks_a_claim_or_has_a_wrong_one_is_invalid(
    key: SigningKey, tokens: AccessTokens, claim: str, value: object
) -> None:
    kid, secret = key.present()
    found = reason(tokens, signed({**HS256, "kid": kid}, payload(**{claim: value}), secret))
    assert found is InvalidToken


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_token_with_a_segment_of_another_one_is_invalid(
    ssm: Any, key: SigningKey, tokens: AccessTokens, position: int
) -> None:
    segments = tokens.issue(CLAIMS).split(".")
    other = signed({**HS256, "kid": key.present().kid, "x": 1}, payload(sub="account-2"), "x").split(".")
    segments[position] = other[position]
    found = reason(tokens, ".".join(segments))
    assert found is InvalidToken


def test_every_character_of_a_token_counts(tokens: AccessTokens) -> None:
    token = tokens.issue(CLAIMS)
    good = []
    for position, character in enumerate(token):
        changed = token[:position] + ("A" if character != "A" else "B") + token[position + 1 :]
        good.append(reason(tokens, changed) is None)
    assert not any(good)


GARBAGE = {
    "nothing": "",
    "dot": ".",
    "dots": "..",
    "many dots": "." * 100_000,
    "three segments": "a.b.c",
    "not ASCII": "é",
    "segments not ASCII": "é.ключ.🎉",
    "null": "\0",
    "lone surrogate": "\ud800.\udfff.a",
    "white space": " \r\n\t",
    "long": "x" * 1_000_000,
    "long segments": ".".join(["QUFB" * 100_000] * 3),
    "deep header": f"{base64.urlsafe_b64encode(b'[' * 90_000).decode()}.e30.AAAA",
    "long number": f"{base64.urlsafe_b64encode(b'9' * 9_000).decode()}.e30.AAAA",
    "API key": "rc_" + "0" * 16 + "_" + "0" * 48,
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_an_invalid_token(tokens: AccessTokens, text: str) -> None:
    found = reason(tokens, text)
    assert found is InvalidToken


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_any_text_and_any_token_that_is_not_signed_by_the_key_is_invalid_and_nothing_else(
    key: SigningKey, tokens: AccessTokens
) -> None:
    kid = key.present().kid
    headers = st.fixed_dictionaries(
        {},
        optional={
            "alg": st.sampled_from(["HS256", "none", "RS256", "ES256", ""]) | JSON,
            "kid": st.just(kid) | JSON,
            "typ": JSON,
            "crit": st.lists(st.sampled_from(["b64", "exp"]) | JSON, max_size=2) | JSON,
            "b64": JSON,
        },
    )
    payloads = st.fixed_dictionaries({}, optional=dict.fromkeys(("sub", "sid", "iat", "exp"), JSON)) | JSON
    forged = st.builds(signed, headers | JSON, payloads, st.text(min_size=1, max_size=40))
    texts = st.text() | st.lists(st.text("AQe3_-=.", max_size=8), max_size=5).map(".".join)

    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(texts | forged)
    def check(text: str) -> None:
        found = reason(tokens, text)
        assert found is InvalidToken

    check()


@pytest.mark.parametrize("value", ["not json", "[]", '{"kid": "1"}', "7"])
def test_a_damaged_key_is_a_fault_of_the_stack_and_not_of_the_token(ssm: Any, value: str) -> None:
    ssm.put_parameter(Name=NAME, Type="SecureString", Value=value)
    tokens = AccessTokens(SigningKey(ssm, NAME))
    with pytest.raises(Unavailable, match="holds no signing key") as caught:
        tokens.issue(CLAIMS)
    assert str(caught.value) == f"the parameter {NAME} holds no signing key"
    with pytest.raises(Unavailable):
        tokens.read(jwt.encode({}, "x" * 32, "HS256", {"kid": "any"}))

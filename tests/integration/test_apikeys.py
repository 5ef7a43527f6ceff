"""API keys from their making to their end, and the gate that they open."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import boto3
import pytest

from rollcall.access.api_keys import SCOPES, ApiKey, ApiKeys, BadKey, KeyChanged, KeyRevoked, UnknownKey, digest_of
from rollcall.access.gate import Gate, Principal, Unauthenticated
from rollcall.access.reach import ALL, Reach
from rollcall.access.tokens import AccessTokens, SigningKey
from rollcall.core.limits import Allowance, Limit, TooFast
from rollcall.core.projects import DEFAULT, Project
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import API_KEYS_KEY, api_key_key
from tests.support import create_access_table, scan

REGION = "us-east-1"
DAY = 86_400
OF_THE_STACK = Limit(rate=1, burst=2)
WIDE = Limit(rate=500, burst=1000)
LET_IN = "let in"

SPOILT: dict[str, Callable[[str], str]] = {
    "nothing": lambda text: "",
    "prefix alone": lambda text: "rc_",
    "many prefixes": lambda text: "rc_" * 30,
    "no prefix": lambda text: text[3:],
    "prefix in capitals": lambda text: "RC_" + text[3:],
    "digits in capitals": lambda text: "rc_" + text[3:].upper(),
    "too short": lambda text: text[:-1],
    "too long": lambda text: text + "0",
    "line feed after": lambda text: text + "\n",
    "space before": lambda text: " " + text,
    "other separators": lambda text: text.replace("_", "-"),
    "other secret": lambda text: text[:-48] + "0" * 48,
    "unknown id": lambda text: "rc_" + "0" * 16 + text[19:],
    "accent": lambda text: text[:-1] + "é",
    "digit of another script": lambda text: text[:-1] + "\uff10",
    "another script": lambda text: "ключ",
    "null": lambda text: "\0",
    "dots": lambda text: "a.b.c",
    "again and again": lambda text: text * 10_000,
    "huge": lambda text: "x" * 1_000_000,
}


class Hooked(Dynamo):
    """A DynamoDB with something that happens after a read."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.after_read: Callable[[], object] = lambda: None

    def find(self, table: str, pk: str, sk: str = "-") -> Item | None:
        found = super().find(table, pk, sk)
        self.after_read()
        return found


class Stack:
    """A table of keys and the gate that reads it, under a clock that stands still."""

    def __init__(self, client: Any, ssm: Any) -> None:
        self.client = client
        self.table = create_access_table(client)
        self.now = 1_000_000.0
        self.dynamo = Hooked(client)
        self.keys = ApiKeys(self.dynamo, self.table, lambda: self.now)
        tokens = AccessTokens(SigningKey(ssm, "/test/signing-key"))
        self.gate = Gate(self.dynamo, self.table, tokens, OF_THE_STACK, 5, lambda: self.now)

    def create(self, name: str = "test", limit: Limit | None = WIDE, days: int | None = None) -> list[str]:
        """The id and the text of a new key."""
        lifetime = None if days is None else timedelta(days=days)
        key, text = self.keys.create(name, ["ingest"], "shop", limit, lifetime)
        return [key.key_id, text]

    def answers(self, *texts: str, method: str = "POST", route: str = "/events") -> list[str]:
        """What the gate says to each of some texts."""
        return [self._answer(text, method, route) for text in texts]

    def _answer(self, text: str, method: str, route: str) -> str:
        try:
            self.gate.admit(text, method, route)
        except Unauthenticated as refused:
            return refused.code
        except TooFast:
            return "too fast"
        return LET_IN

    def items(self) -> str:
        """All that the table holds."""
        return json.dumps(list(scan(self.client, self.table)), default=str)

    def key(self, key_id: str) -> ApiKey:
        return next(key for key in self.keys.all(ALL) if key.key_id == key_id)

    def delete(self, key_id: str) -> None:
        self.client.delete_item(TableName=self.table, Key={"pk": {"S": f"key#{key_id}"}, "sk": {"S": "-"}})

    def during_the_next_read(self, action: Callable[[], object]) -> None:
        def once() -> None:
            self.dynamo.after_read = lambda: None
            action()

        self.dynamo.after_read = once


@pytest.fixture(scope="module")
def ssm() -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        session = boto3.Session("testing", "testing", region_name=REGION)
        return session.client("ssm", endpoint_url=f"https://ssm.{REGION}.amazonaws.com")


@pytest.fixture
def stack(aws: None, aws_clients: dict[str, Any], ssm: Any) -> Iterator[Stack]:
    made = Stack(aws_clients["dynamodb"], ssm)
    yield made
    made.client.delete_table(TableName=made.table)


@pytest.fixture
def real_stack(dynamodb: Any, ssm: Any) -> Iterator[Stack]:
    """For what needs threads, or the limits of DynamoDB."""
    made = Stack(dynamodb, ssm)
    yield made
    made.client.delete_table(TableName=made.table)


def test_the_text_of_a_key_is_kept_nowhere(stack: Stack) -> None:
    key, first = stack.keys.create("test", ["read"], "shop")
    second = stack.keys.rotate(key.key_id, ALL, timedelta(days=1))
    known = stack.items() + repr(key) + repr(stack.keys.all(ALL))
    assert key.key_id in known
    kept = [text.rpartition("_")[2] in known for text in (first, second)]
    assert kept == [False, False]


def test_a_key_is_shown_as_it_was_made(stack: Stack) -> None:
    limit = Limit(1 / 3, 7)
    made, _ = stack.keys.create("Über shop", ["admin", "ingest"], "shop-1.eu_x", limit, timedelta(days=30))
    assert made == ApiKey(
        key_id=made.key_id,
        name="Über shop",
        scopes=("ingest", "admin"),
        source="shop-1.eu_x",
        reach=ALL,
        limit=limit,
        created_at="1970-01-12T13:46:40Z",
        expires_at="1970-02-11T13:46:40Z",
        revoked_at=None,
        requests={},
    )
    assert stack.keys.all(ALL) == [made]


def test_keys_are_listed_oldest_first_and_stay_in_the_list_when_revoked(stack: Stack) -> None:
    ids = []
    for number in range(6):
        ids.append(stack.create(f"key {number}")[0])
        stack.now += 1
    stack.keys.revoke(ids[3], ALL)
    listed = stack.keys.all(ALL)
    assert [key.key_id for key in listed] == ids
    assert [key.name for key in listed] == [f"key {number}" for number in range(6)]
    assert [key.revoked_at for key in listed] == [None] * 3 + ["1970-01-12T13:46:46Z"] + [None] * 2


def test_who_lists_the_keys_of_a_project_reads_no_key_of_another(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Reach(Project("shop"))
    of_shop = stack.keys.create("page", ["ingest"], "http", reach=shop)[0]
    of_before = stack.create("of a version before projects")[0]
    stack.client.put_item(TableName=stack.table, Item={"pk": {"S": API_KEYS_KEY}, "sk": {"S": of_before}})
    for number in range(3):
        stack.keys.create(f"another {number}", ["ingest"], "http", reach=Reach(Project("blog")))
    read: list[str] = []
    get = Dynamo.get

    def noted(self: Dynamo, table: str, keys: Iterable[Item], *more: Any, **named: Any) -> Iterator[Item]:
        keys = list(keys)
        read.extend(key["pk"]["S"] for key in keys)
        return get(self, table, keys, *more, **named)

    monkeypatch.setattr(Dynamo, "get", noted)
    assert stack.keys.all(shop) == [of_shop]
    assert sorted(read) == sorted(map(api_key_key, (of_shop.key_id, of_before)))


def test_a_table_without_keys_lists_none(stack: Stack) -> None:
    assert stack.keys.all(ALL) == []


def test_a_key_opens_as_itself_with_its_scopes_and_source(stack: Stack) -> None:
    key, text = stack.keys.create("test", ["read", "ingest"], "shop")
    stack.create()
    principal, allowance = stack.gate.admit(text, "GET", "/events")
    scopes = frozenset({"ingest", "read"})
    name, digest = f"key {key.key_id}", digest_of(text)
    assert principal == Principal(name, scopes, "shop", Reach(DEFAULT), None, key_digest=digest)
    assert allowance == Allowance(OF_THE_STACK, 1, 1)


def test_the_secret_of_one_key_does_not_open_another(stack: Stack) -> None:
    one_id, one = stack.create()
    other_id, other = stack.create()
    crossed = [one.replace(one_id, other_id), other.replace(other_id, one_id)]
    answers = stack.answers(one, other, *crossed)
    assert answers == [LET_IN, LET_IN, "invalid_credential", "invalid_credential"]


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_not_exactly_the_text_of_a_key_is_refused_and_not_counted(
    stack: Stack, spoil: Callable[[str], str]
) -> None:
    text = stack.create()[1]
    before = stack.items()
    answers = stack.answers(spoil(text))
    assert answers == ["invalid_credential"]
    assert stack.items() == before
    answers = stack.answers(text)
    assert answers == [LET_IN]


def test_a_rotated_key_opens_with_its_new_text_alone(stack: Stack) -> None:
    key_id, old = stack.create()
    before = stack.key(key_id)
    new = stack.keys.rotate(key_id, ALL)
    assert stack.key(key_id) == before
    answers = stack.answers(old, new)
    assert answers == ["invalid_credential", LET_IN]


def test_the_former_text_of_a_rotated_key_opens_until_its_grace_is_over(stack: Stack) -> None:
    key_id, old = stack.create()
    new = stack.keys.rotate(key_id, ALL, timedelta(hours=1))
    answers = stack.answers(old, new)
    stack.now += 3_599
    answers += stack.answers(old, new)
    stack.now += 1
    answers += stack.answers(old, new)
    assert answers == [LET_IN, LET_IN, LET_IN, LET_IN, "invalid_credential", LET_IN]


def test_of_a_key_that_is_rotated_twice_only_the_last_two_texts_open(stack: Stack) -> None:
    key_id, first = stack.create()
    second = stack.keys.rotate(key_id, ALL, timedelta(hours=1))
    third = stack.keys.rotate(key_id, ALL, timedelta(hours=1))
    answers = stack.answers(first, second, third)
    assert answers == ["invalid_credential", LET_IN, LET_IN]


def test_a_rotation_that_another_one_overtakes_is_refused_and_leaves_its_grace(stack: Stack) -> None:
    key_id, old = stack.create()
    earlier: list[str] = []
    stack.during_the_next_read(lambda: earlier.append(stack.keys.rotate(key_id, ALL, timedelta(hours=1))))
    with pytest.raises(KeyChanged):
        stack.keys.rotate(key_id, ALL, timedelta(hours=1))
    answers = stack.answers(old, *earlier)
    assert answers == [LET_IN, LET_IN]


def test_of_many_rotations_at_the_same_moment_one_returns_a_text_that_opens(real_stack: Stack) -> None:
    key_id, old = real_stack.create()
    rotations = 8
    barrier = threading.Barrier(rotations, timeout=60)
    waited = threading.local()

    def wait_once() -> None:
        if not hasattr(waited, "done"):
            waited.done = True
            barrier.wait()

    def rotate(_: int) -> str | None:
        try:
            return real_stack.keys.rotate(key_id, ALL)
        except KeyChanged:
            return None

    real_stack.dynamo.after_read = wait_once
    with ThreadPoolExecutor(rotations) as pool:
        texts = [text for text in pool.map(rotate, range(rotations)) if text]
    real_stack.dynamo.after_read = lambda: None
    assert len(texts) == 1
    answers = real_stack.answers(old, *texts)
    assert answers == ["invalid_credential", LET_IN]


def test_a_rotation_whose_answer_is_lost_and_that_is_sent_again_is_one_rotation(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id, old = stack.create()
    update = stack.client.update_item

    def sent_twice(**request: Any) -> Any:
        update(**request)
        return update(**request)

    monkeypatch.setattr(stack.client, "update_item", sent_twice)
    new = stack.keys.rotate(key_id, ALL, timedelta(hours=1))
    monkeypatch.setattr(stack.client, "update_item", update)
    answers = stack.answers(old, new)
    assert answers == [LET_IN, LET_IN]


def test_a_revoked_key_is_refused_from_the_next_request_on_and_for_ever(stack: Stack) -> None:
    key_id, old = stack.create()
    new = stack.keys.rotate(key_id, ALL, timedelta(days=7))
    answers = stack.answers(old, new)
    assert answers == [LET_IN, LET_IN]
    stack.keys.revoke(key_id, ALL)
    answers = stack.answers(old, new)
    stack.now += 5 * DAY
    stack.keys.revoke(key_id, ALL)
    answers += stack.answers(old, new)
    assert answers == ["revoked"] * 4
    assert stack.key(key_id).revoked_at == "1970-01-12T13:46:40Z"
    assert stack.key(key_id).requests == {"POST /events": 2}


def test_whoever_has_not_the_secret_of_a_revoked_key_is_not_told_that_it_is_revoked(stack: Stack) -> None:
    key_id, text = stack.create()
    stack.keys.revoke(key_id, ALL)
    answers = stack.answers(text[:-48] + "0" * 48)
    assert answers == ["invalid_credential"]


def test_a_revoked_key_cannot_be_rotated(stack: Stack) -> None:
    key_id, text = stack.create()
    stack.keys.revoke(key_id, ALL)
    with pytest.raises(KeyRevoked):
        stack.keys.rotate(key_id, ALL, timedelta(days=1))
    answers = stack.answers(text)
    assert answers == ["revoked"]


def test_a_key_that_is_revoked_during_its_rotation_stays_revoked(stack: Stack) -> None:
    key_id, text = stack.create()
    before = stack.items()
    stack.during_the_next_read(lambda: stack.keys.revoke(key_id, ALL))
    with pytest.raises(KeyRevoked):
        stack.keys.rotate(key_id, ALL)
    assert stack.items() != before
    answers = stack.answers(text)
    assert answers == ["revoked"]


@pytest.mark.parametrize(
    "key_id", ["", "-", " ", "keys", "0" * 16, "../x", "a#b", "key#a", "a/b", "\0", "é", "x" * 500]
)
@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_an_unknown_id_is_refused_and_leaves_nothing_behind(stack: Stack, verb: str, key_id: str) -> None:
    with pytest.raises(UnknownKey):
        getattr(stack.keys, verb)(key_id, ALL)
    assert stack.items() == "[]"


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_a_key_that_is_deleted_since_the_read_is_not_made_again(stack: Stack, verb: str) -> None:
    key_id, _ = stack.create()
    stack.during_the_next_read(lambda: stack.delete(key_id))
    with suppress(UnknownKey):
        getattr(stack.keys, verb)(key_id, ALL)
    assert stack.keys.all(ALL) == []


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_an_id_that_is_longer_than_a_key_of_dynamodb_may_be_is_an_unknown_one(real_stack: Stack, verb: str) -> None:
    with pytest.raises(UnknownKey):
        getattr(real_stack.keys, verb)("a" * 5_000, ALL)


def test_a_key_opens_until_its_lifetime_is_over(stack: Stack) -> None:
    key_id, text = stack.create(days=30)
    assert stack.key(key_id).expires_at == "1970-02-11T13:46:40Z"
    stack.now += 30 * DAY - 1
    answers = stack.answers(text)
    stack.now += 1
    answers += stack.answers(text)
    assert answers == [LET_IN, "expired"]


def test_a_rotation_does_not_lengthen_the_lifetime_of_a_key(stack: Stack) -> None:
    key_id, old = stack.create(days=30)
    stack.now += 29 * DAY
    new = stack.keys.rotate(key_id, ALL, timedelta(days=7))
    answers = stack.answers(old, new)
    assert answers == [LET_IN, LET_IN]
    stack.now += DAY
    answers = stack.answers(old, new)
    assert answers == ["expired", "expired"]


def test_a_key_without_a_lifetime_opens_for_ever(stack: Stack) -> None:
    key_id, text = stack.create()
    stack.now += 100 * 365 * DAY
    answers = stack.answers(text)
    assert answers == [LET_IN]
    assert stack.key(key_id).expires_at is None


def test_a_lifetime_beyond_all_dates_does_not_break_the_list(stack: Stack) -> None:
    key_id, _ = stack.create()
    with suppress(ValueError, OverflowError):
        stack.keys.create("test", ["read"], "shop", lifetime=timedelta.max)
    assert stack.key(key_id)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *(("name", {"name": name}) for name in ("", "  ", "x" * 101, "a\nb", "\0", "\ud800", "a\u2028b", "a\u202eb")),
        *(("scopes", {"scopes": scopes}) for scopes in ([], ["root"], ["read", "root"], ["Read"], [""])),
        *(
            ("source", {"source": source})
            for source in ("", "A", "-a", ".a", "a b", "a\n", "a#b", "@a", "é", "x" * 33, "import")
        ),
        *(
            ("rate", {"limit": Limit(rate, 1)})
            for rate in (0, -1, 0.000_9, 100_001, float("nan"), float("inf"), -float("inf"))
        ),
        *(("burst", {"limit": Limit(1, burst)}) for burst in (0, -1, 100_001)),
    ],
)
def test_a_bad_field_is_refused_by_its_name_and_no_key_is_made(stack: Stack, field: str, wrong: dict[str, Any]) -> None:
    wanted: dict[str, Any] = {"name": "test", "scopes": ["read"], "source": "shop", **wrong}
    with pytest.raises(BadKey, match=rf"\b{field} ") as refused:
        stack.keys.create(**wanted)
    assert refused.value.field == field
    assert stack.items() == "[]"


@pytest.mark.parametrize("limit", [Limit(0.001, 1), Limit(500, 5_000)])
def test_a_key_may_have_anything_up_to_the_bounds(stack: Stack, limit: Limit) -> None:
    made, text = stack.keys.create("x" * 100, SCOPES, "9" + "x" * 31, limit)
    assert stack.keys.all(ALL) == [made]
    assert made.limit == limit
    answers = stack.answers(text)
    assert answers == [LET_IN]


@pytest.mark.parametrize(
    ("limit", "let_in"), [(None, OF_THE_STACK.burst), (Limit(1, 1), 1), (Limit(1, 4), 4)], ids=["none", "less", "more"]
)
def test_a_limit_of_its_own_goes_before_the_one_of_the_stack(stack: Stack, limit: Limit | None, let_in: int) -> None:
    text = stack.create(limit=limit)[1]
    answers = stack.answers(*[text] * 6)
    assert answers == [LET_IN] * let_in + ["too fast"] * (6 - let_in)


def test_the_texts_of_a_key_share_its_bucket_and_two_keys_share_none(stack: Stack) -> None:
    one_id, former = stack.create(limit=Limit(1, 1))
    other = stack.create(limit=Limit(1, 1))[1]
    present = stack.keys.rotate(one_id, ALL, timedelta(hours=1))
    answers = stack.answers(former, present, other)
    assert answers == [LET_IN, "too fast", LET_IN]


def test_requests_let_in_are_counted_by_method_and_route(stack: Stack) -> None:
    one_id, one = stack.create(limit=Limit(1, 4))
    other_id, other = stack.create()
    stack.answers(one, one, other)
    stack.answers(one, method="GET", route="/batches/{batch_id}")
    stack.answers(one, method="GET", route="/events")
    answers = stack.answers(one, method="GET", route="/events")
    assert answers == ["too fast"]
    assert stack.key(one_id).requests == {"POST /events": 2, "GET /batches/{batch_id}": 1, "GET /events": 1}
    assert stack.key(other_id).requests == {"POST /events": 1}


def test_a_key_that_is_deleted_while_a_request_of_it_is_let_in_is_refused_and_not_made_again(stack: Stack) -> None:
    key_id, text = stack.create()
    stack.during_the_next_read(lambda: stack.delete(key_id))
    answers = stack.answers(text)
    assert answers == ["revoked"]
    assert stack.keys.all(ALL) == []


def test_of_many_requests_of_a_key_at_once_as_many_are_let_in_as_its_limit_says(real_stack: Stack) -> None:
    key_id, text = real_stack.create(limit=Limit(1, 5))
    real_stack.dynamo.after_read = threading.Barrier(20, timeout=60).wait
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: real_stack.answers(text)[0], range(20)))
    assert sorted(answers) == [LET_IN] * 5 + ["too fast"] * 15
    assert real_stack.key(key_id).requests == {"POST /events": 5}

"""What a client of AWS does behind our back, and what an item in a transaction answers: nothing of it may be told as a
fault of the caller, or be done half."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import argon2
import boto3
import pytest
from botocore.exceptions import ClientError

from rollcall.access.accounts import Accounts, LoginRules
from rollcall.access.gate import Gate
from rollcall.access.passwords import Passwords
from rollcall.access.sessions import InvalidRefreshToken
from rollcall.access.tokens import AccessTokens, SigningKey
from rollcall.core.limits import Limit
from rollcall.stack.dynamo import Dynamo
from tests.support import create_access_table, pass_over

EMAIL, PASSWORD, OTHER = "ada@example.com", "nine green bottles", "eight green bottles"
ADDRESS = "192.0.2.1"
RULES = LoginRules(Limit(100, 100), Limit(100, 100), 90 * 86_400)
CONFLICT = ClientError({"Error": {"Code": "TransactionConflictException", "Message": ""}}, "UpdateItem")
THROTTLED = ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "GetParameter")


class Stack:
    def __init__(self, client: Any, ssm: Any) -> None:
        self.client = client
        self.ssm = ssm
        self.key = SigningKey(ssm, "/test/signing-key")
        tokens = AccessTokens(self.key)
        self.table = create_access_table(client)
        dynamo = Dynamo(client, pass_over)
        self.gate = Gate(dynamo, self.table, tokens, Limit(100, 100), 5)
        self.accounts = Accounts(dynamo, self.table, tokens, Passwords(), RULES)

    def call(self, token: str) -> None:
        self.gate.admit(token, "GET", "/stats/dau")


@pytest.fixture
def stack(aws: None, aws_clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("rollcall.access.passwords.PasswordHasher", lambda: cheap)
    ssm = boto3.client("ssm", "us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")
    made = Stack(aws_clients["dynamodb"], ssm)
    yield made
    made.client.delete_table(TableName=made.table)


def sent_twice(write: Callable[..., Any]) -> Callable[..., Any]:
    """The answer to the first sending is lost."""

    def send(**request: Any) -> Any:
        write(**request)
        return write(**request)

    return send


def first_in_a_transaction(write: Callable[..., Any]) -> Callable[..., Any]:
    tries: list[int] = []

    def send(**request: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise CONFLICT
        return write(**request)

    return send


def test_a_registration_whose_answer_is_lost_is_made_once_and_told(stack: Stack) -> None:
    with mock.patch.object(stack.client, "put_item", sent_twice(stack.client.put_item)):
        stack.accounts.register(EMAIL, PASSWORD, ["read"])
    assert stack.accounts.login(EMAIL, PASSWORD, ADDRESS).access_token


def test_a_change_of_password_whose_answer_is_lost_ends_the_sessions(stack: Stack) -> None:
    account = stack.accounts.register(EMAIL, PASSWORD, ["read"])
    token = stack.accounts.login(EMAIL, PASSWORD, ADDRESS).access_token
    stack.call(token)
    with mock.patch.object(stack.client, "update_item", sent_twice(stack.client.update_item)):
        stack.accounts.change_password(account.account_id, "a session", PASSWORD, OTHER)
    with pytest.raises(Exception, match="the session has ended"):
        stack.call(token)
    assert stack.accounts.login(EMAIL, OTHER, ADDRESS).access_token


def test_a_refresh_that_cannot_be_signed_leaves_its_token_good(stack: Stack) -> None:
    stack.accounts.register(EMAIL, PASSWORD, ["read"])
    token = stack.accounts.login(EMAIL, PASSWORD, ADDRESS).refresh_token
    with mock.patch.object(stack.key, "present", side_effect=THROTTLED), pytest.raises(ClientError):
        stack.accounts.refresh(token)
    assert stack.accounts.refresh(token).access_token


@pytest.mark.parametrize("write", ["update_item", "delete_item", "put_item"])
def test_a_write_waits_for_the_transaction_that_has_its_item(stack: Stack, write: str) -> None:
    with mock.patch.object(stack.client, "put_item", first_in_a_transaction(stack.client.put_item)):
        stack.accounts.register(EMAIL, PASSWORD, ["read"])
    pair = stack.accounts.login(EMAIL, PASSWORD, ADDRESS)
    with mock.patch.object(stack.client, write, first_in_a_transaction(getattr(stack.client, write))):
        stack.call(pair.access_token)
        stack.accounts.logout(pair.refresh_token)
    with pytest.raises(InvalidRefreshToken):
        stack.accounts.refresh(pair.refresh_token)


def test_a_replay_ends_the_session_though_a_transaction_has_it(stack: Stack) -> None:
    stack.accounts.register(EMAIL, PASSWORD, ["read"])
    former = stack.accounts.login(EMAIL, PASSWORD, ADDRESS).refresh_token
    present = stack.accounts.refresh(former).refresh_token
    conflicting = first_in_a_transaction(stack.client.delete_item)
    with mock.patch.object(stack.client, "delete_item", conflicting), pytest.raises(InvalidRefreshToken):
        stack.accounts.refresh(former)
    with pytest.raises(InvalidRefreshToken):
        stack.accounts.refresh(present)

"""DynamoDB's batch operations, which are the cheapest. Items and keys have boto3's form, `{"name": {"S": "text"}}`.

Where DynamoDB throttles or leaves a part of a call undone, `Dynamo` retries that part alone, with jittered backoff.
It gives up after a few seconds, because somebody waits for the answer, or is `patient` for as long as a function that
nobody waits for has time.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


Item = dict[str, Any]
_T = TypeVar("_T")

STATEMENTS_PER_CALL = 25
KEYS_PER_CALL = 100
WRITES_PER_CALL = 25
ATTEMPTS = 10
FIRST_BACKOFF_SECONDS = 0.025
LONGEST_BACKOFF_SECONDS = 2.0
# What a patient `Dynamo` leaves a function of its time: the client's own retries of a last call, and what follows it.
LEAST_MILLISECONDS = 5_000

_TRY_AGAIN = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "ThrottlingError",
        "TransactionConflict",
    }
)
# Codes of calls of which nothing was done. The client has retried them twice by itself by the time that it raises them.
_NOTHING_DONE = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)
_REFUSED = frozenset({"ItemCollectionSizeLimitExceeded", "ValidationError"})


class Unavailable(Exception):
    """DynamoDB kept throttling, or gives an error that no retry can cure (a missing table, a denied action)."""


class Setbacks(NamedTuple):
    """Why a `Dynamo` had to retry."""

    retries: int = 0
    """The number of times that DynamoDB throttled or left a part of a call undone."""
    conflicts: int = 0
    """The number of writes that DynamoDB cancelled because of another transaction on the same item."""


class Dynamo:
    """A DynamoDB client with batch operations that retry. `sleep` takes seconds."""

    def __init__(self, client: "DynamoDBClient", sleep: Callable[[float], None] = time.sleep) -> None:
        self.client = client
        self._sleep = sleep
        self._milliseconds_left: Callable[[], int] | None = None
        self._retries = 0
        self._conflicts = 0

    @contextmanager
    def patient(self, milliseconds_left: Callable[[], int], for_others: int = 0) -> Iterator[None]:
        """Within the block, retry until a function has `LEAST_MILLISECONDS` left, also what is throttled as a whole.

        `milliseconds_left` is the `get_remaining_time_in_millis` of the function's context. `for_others` are more
        milliseconds to leave.
        """
        self._milliseconds_left = lambda: milliseconds_left() - for_others
        try:
            yield
        finally:
            self._milliseconds_left = None

    def setbacks(self) -> Setbacks:
        """The setbacks since the previous call of this method."""
        counted = Setbacks(self._retries, self._conflicts)
        self._retries = self._conflicts = 0
        return counted

    def execute(self, statement: str, parameters: Sequence[Sequence[Any]]) -> tuple[dict[int, str], dict[int, str]]:
        """Run one PartiQL write for each list of parameters. Each list must name a different key.

        Returns two mappings by position in `parameters`. The first has the error code of each statement whose condition
        did not hold: `DuplicateItem` or `ConditionalCheckFailed`. The second has the reason for each statement that
        DynamoDB will never accept. All other statements were written. Raises `Unavailable` and botocore's errors.
        One write unit for each KB of each item, whether or not its condition held.
        """
        unmet: dict[int, str] = {}
        refused: dict[int, str] = {}
        waiting = list(range(len(parameters)))
        for _ in self._tries():
            again: list[int] = []
            for positions in _chunks(waiting, STATEMENTS_PER_CALL):
                for position, code, message in self._execute_some(statement, parameters, positions):
                    if code in ("DuplicateItem", "ConditionalCheckFailed"):
                        unmet[position] = code
                    elif code in _REFUSED:
                        refused[position] = message
                    elif code in _TRY_AGAIN:
                        again.append(position)
                    else:
                        raise Unavailable(f"DynamoDB answers {code}: {message}")
            if not again:
                return unmet, refused
            waiting = again
            self._retries += 1
        raise Unavailable(f"DynamoDB still throttles {len(waiting)} statements")

    def _execute_some(
        self, statement: str, parameters: Sequence[Sequence[Any]], positions: list[int]
    ) -> Iterator[tuple[int, str, str]]:
        """Run up to 25 statements in one call; yields position, error code and message of each that failed."""
        try:
            answer = self._call(
                self.client.batch_execute_statement,
                Statements=[{"Statement": statement, "Parameters": parameters[p]} for p in positions],
            )
        except ClientError as error:
            if _code(error) != "ValidationException":
                raise
            # One statement that DynamoDB cannot read fails the whole call. Halving finds it and runs the others.
            if len(positions) == 1:
                yield positions[0], "ValidationError", str(error)
                return
            middle = len(positions) // 2
            yield from self._execute_some(statement, parameters, positions[:middle])
            yield from self._execute_some(statement, parameters, positions[middle:])
            return
        for position, response in zip(positions, answer["Responses"], strict=True):
            failure = response.get("Error")
            if failure:
                yield position, failure.get("Code", "Unknown"), failure.get("Message", "")

    def get(
        self, table: str, keys: Sequence[Item], attributes: Sequence[str] = (), *, consistent: bool = False
    ) -> Iterator[Item]:
        """Read the items of `keys` that exist, in any order: the named attributes, or all if none is named.

        Half a read unit for each 4 KB of each item, absent ones included; a whole one if `consistent`.
        """
        request: dict[str, Any] = {"ConsistentRead": consistent, **_projection(attributes)}
        for chunk in _chunks(keys, KEYS_PER_CALL):
            waiting: Any = {table: {**request, "Keys": chunk}}
            for _ in self._tries():
                answer = self._call(self.client.batch_get_item, RequestItems=waiting)
                yield from answer["Responses"].get(table, ())
                waiting = answer.get("UnprocessedKeys")
                if not waiting:
                    break
                self._retries += 1
            else:
                raise Unavailable("DynamoDB still leaves keys unread")

    def put(self, table: str, items: Sequence[Item]) -> None:
        """Put items, which must have different keys; one write unit for each KB of each."""
        for chunk in _chunks(items, WRITES_PER_CALL):
            waiting: Any = {table: [{"PutRequest": {"Item": item}} for item in chunk]}
            for _ in self._tries():
                waiting = self._call(self.client.batch_write_item, RequestItems=waiting).get("UnprocessedItems")
                if not waiting:
                    break
                self._retries += 1
            else:
                raise Unavailable("DynamoDB still leaves items unwritten")

    def put_if_absent(self, table: str, item: Item) -> Item:
        """Put an item unless its key is taken; returns the item that is stored under the key afterwards."""
        try:
            self._alone(
                self.client.put_item,
                TableName=table,
                Item=item,
                ConditionExpression="attribute_not_exists(pk)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if _code(error) != "ConditionalCheckFailedException":
                raise
            return cast(Item, error.response["Item"])  # type: ignore[typeddict-item]
        return item

    def find(self, table: str, pk: str, sk: str = "-") -> Item | None:
        """The item of a key, or None; a consistent read, one read unit for each 4 KB."""
        return self.find_by(table, {"pk": {"S": pk}, "sk": {"S": sk}})

    def find_by(self, table: str, key: Item, attributes: Sequence[str] = ()) -> Item | None:
        """As `find`, by a whole key: the named attributes of the item, or all if none is named."""
        request: dict[str, Any] = {"TableName": table, "Key": key, "ConsistentRead": True, **_projection(attributes)}
        found: Item | None = self._call(self.client.get_item, **request).get("Item")
        return found

    def update(self, table: str, pk: str, sk: str, **expressions: Any) -> tuple[bool, Item]:
        """Update an item if its condition holds; one write unit for each KB of the item either way.

        `expressions` are arguments of boto3's `update_item`. Returns whether the condition held, and what was set if
        it did, since the roles allow no more; if not, the whole item, empty if there is none.
        """
        try:
            answer = self._alone(
                self.client.update_item,
                TableName=table,
                Key={"pk": {"S": pk}, "sk": {"S": sk}},
                ReturnValues="UPDATED_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **expressions,
            )
        except ClientError as error:
            if _code(error) != "ConditionalCheckFailedException":
                raise
            return False, cast(Item, error.response.get("Item", {}))
        # Where nothing is set but something removed, there are none.
        return True, cast(Item, answer.get("Attributes", {}))

    def delete(self, table: str, pk: str, sk: str) -> None:
        """Delete an item if it exists; one write unit for each KB of it."""
        self._alone(self.client.delete_item, TableName=table, Key={"pk": {"S": pk}, "sk": {"S": sk}})

    def _alone(self, write: Callable[..., Any], **request: Any) -> Any:
        """Make a single write; retries while a transaction holds its item."""
        for _ in self._tries():
            try:
                return self._call(write, **request)
            except ClientError as error:
                if _code(error) != "TransactionConflictException":
                    raise
            self._conflicts += 1
        raise Unavailable("the write still meets transactions")

    def transact(self, writes: Sequence[Mapping[str, Any]]) -> Item | None:
        """Write all or nothing; two write units for each KB of each item.

        Returns None if all was written. Else returns the item of the first write whose condition did not hold; it is
        empty unless that write asks for it with `ReturnValuesOnConditionCheckFailure`.
        """
        for _ in self._tries():
            try:
                self._call(self.client.transact_write_items, TransactItems=list(writes))
                return None
            except ClientError as error:
                if _code(error) != "TransactionCanceledException":
                    raise
                reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
                for reason in reasons:
                    if reason.get("Code") == "ConditionalCheckFailed":
                        return cast(Item, reason.get("Item", {}))
                codes = Counter(reason.get("Code", "None") for reason in reasons)
                if not codes.keys() <= _TRY_AGAIN | {"None"}:
                    raise
                self._conflicts += codes["TransactionConflict"]
                self._retries += not codes.keys() <= {"None", "TransactionConflict"}
        raise Unavailable("the transaction still meets others or throttling")

    def query(self, **request: Any) -> Iterator[list[Item]]:
        """The pages of a query, of up to 1 MB each; one call a page."""
        while True:
            answer = self._call(self.client.query, **request)
            yield answer["Items"]
            last = answer.get("LastEvaluatedKey")
            if not last:
                return
            request["ExclusiveStartKey"] = last

    def _call(self, call: Callable[..., Any], **request: Any) -> Any:
        """Make a call; while patient, retry it where DynamoDB does nothing of it. Else the client's retries are all."""
        for _ in self._tries():
            try:
                return call(**request)
            except ClientError as error:
                if self._milliseconds_left is None or _code(error) not in _NOTHING_DONE:
                    raise
            self._retries += 1
        raise Unavailable("DynamoDB still throttles a call")

    def _tries(self) -> Iterator[None]:
        """Yield for each attempt. Waits between two, ever longer, and ends when the next one would come too late."""
        for attempt in count():
            yield
            # Random, so that consumers that met each other do not meet again.
            seconds = random.uniform(0, min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(attempt, 10)))  # noqa: S311
            if self._milliseconds_left is None:
                if attempt + 1 >= ATTEMPTS:
                    return
            elif self._milliseconds_left() - 1_000 * seconds < LEAST_MILLISECONDS:
                return
            self._sleep(seconds)


def addition(table: str, pk: str, sk: str, additions: Mapping[str, int]) -> Item:
    """The write of a transaction that adds to numbers of an item, and makes the item if there is none."""
    terms = ",".join(f"#{index} :{index}" for index in range(len(additions)))
    return {
        "Update": {
            "TableName": table,
            "Key": {"pk": {"S": pk}, "sk": {"S": sk}},
            "UpdateExpression": f"ADD {terms}",
            "ExpressionAttributeNames": {f"#{index}": name for index, name in enumerate(additions)},
            "ExpressionAttributeValues": {
                f":{index}": {"N": str(count)} for index, count in enumerate(additions.values())
            },
        }
    }


def _projection(attributes: Sequence[str]) -> dict[str, Any]:
    if not attributes:
        return {}
    names = {f"#{index}": name for index, name in enumerate(attributes)}
    return {"ProjectionExpression": ",".join(names), "ExpressionAttributeNames": names}


def _chunks(things: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(things)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")

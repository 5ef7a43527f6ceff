"""The limits and conflicts of DynamoDB that emulators do not have, and the codes that they are told by."""

from typing import Any, cast

import botocore.session
import pytest

from scripts.bench.aws_like import Answer, AwsLike, Body, Limits
from scripts.bench.virtual import stack_tables

LIMITS = Limits(table_writes=10, table_reads=10, key_writes=4, key_reads=4)
MODEL = botocore.session.get_session().get_service_model("dynamodb")


class Table:
    """The limits before a DynamoDB that does whatever it is asked, at a time that the test tells."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.now = 0.0
        self.passed: list[Body] = []
        self.until = 0.0
        self.like = AwsLike(stack_tables().schemas.__getitem__, lambda: self.now, limits)

    def ask(self, operation: str, **body: Any) -> Answer:
        def forward(let: Body) -> Answer:
            self.passed.append(let)
            return 200, {"Responses": [{} for _ in let.get("Statements", ())]}

        answer, self.until = self.like.handle(operation, body, forward)
        if answer[0] != 200:
            known = {shape.name for shape in MODEL.operation_model(operation).error_shapes}
            assert code_of(answer) in known
        return answer

    def insert(self, *event_ids: str) -> list[str]:
        """Insert events; returns what became of each."""
        text = "INSERT INTO \"EventsTable\" VALUE {'event_id':?,'batch':?}"
        return self.run(text, *([event_id, "b"] for event_id in event_ids))

    def run(self, text: str, *rows: list[str]) -> list[str]:
        statements = [{"Statement": text, "Parameters": [{"S": one} for one in row]} for row in rows]
        _, answer = self.ask("BatchExecuteStatement", Statements=statements)
        codes = [one.get("Error", {}).get("Code", "done") for one in answer["Responses"]]
        assert {*codes} - {"done"} <= {*cast(Any, MODEL.shape_for("BatchStatementErrorCodeEnum")).enum}
        return codes

    def transact(self, day: str, name: str) -> Answer:
        put = {"Put": {"TableName": "StatsTable", "Item": {"pk": {"S": f"batch#{name}"}, "sk": {"S": "0"}}}}
        return self.ask("TransactWriteItems", TransactItems=[put, {"Update": counter(day)}])


def counter(day: str) -> Body:
    return {"TableName": "StatsTable", "Key": {"pk": {"S": "counts#0"}, "sk": {"S": day}}}


def code_of(answer: Answer) -> str:
    assert answer[0] == 400
    return str(answer[1]["__type"]).rpartition("#")[2]


def named(prefix: str, number: int) -> list[str]:
    return [f"{prefix}{one}" for one in range(number)]


def test_a_table_takes_so_many_writes_a_second_and_tells_by_the_statement_which_it_did_not() -> None:
    table = Table()

    assert table.insert(*named("e", 12)) == 10 * ["done"] + 2 * ["ThrottlingError"]
    assert table.insert("late") == ["ThrottlingError"]
    table.now = 0.5
    assert table.insert(*named("f", 6)) == 5 * ["done"] + ["ThrottlingError"]


def test_unused_units_are_not_saved_for_later() -> None:
    table = Table()
    table.now = 3_600

    assert table.insert(*named("e", 11)).count("done") == 10


def test_a_write_takes_a_unit_for_each_kb() -> None:
    table = Table(Limits(table_writes=10, key_writes=10))

    statement = "INSERT INTO \"EventsTable\" VALUE {'event_id':?,'batch':?}"
    assert table.run(statement, ["e1", 8_000 * "x"], ["e2", 8_000 * "x"]) == ["done", "ThrottlingError"]


def test_one_key_takes_fewer_writes_than_the_table() -> None:
    table = Table()

    statement = "INSERT INTO \"StatsTable\" VALUE {'pk':?,'sk':?,'batch':?}"
    rows = [["users#2025-08-01#0", f"u{one}", "b"] for one in range(5)]
    assert table.run(statement, *rows) == 4 * ["done"] + ["ThrottlingError"]
    assert table.run(statement, ["users#2025-08-01#1", "u9", "b"]) == ["done"]


def test_a_day_s_key_of_the_index_throttles_the_first_days_that_are_written_to_the_table() -> None:
    table = Table()

    statement = "INSERT INTO \"StatsTable\" VALUE {'pk':?,'sk':?,'first_day':?,'user_id':?}"
    same_day = [[f"first#u{one}", "-", "2025-08-01", f"u{one}"] for one in range(5)]
    assert table.run(statement, *same_day) == 4 * ["done"] + ["ThrottlingError"]
    assert table.run(statement, ["first#u9", "-", "2025-08-02", "u9"]) == ["done"]


def test_a_lowered_first_day_is_written_to_the_index_under_its_new_day() -> None:
    table = Table()

    statement = 'UPDATE "StatsTable" SET first_day=? WHERE pk=? AND sk=? AND first_day>?'
    rows = [["2025-08-01", f"first#u{one}", "-", "2025-08-01"] for one in range(5)]
    assert table.run(statement, *rows) == 4 * ["done"] + ["ThrottlingError"]


def test_a_batch_of_reads_is_handed_back_in_part_and_throttled_where_all_of_it_is() -> None:
    table = Table()
    keys = [{"event_id": {"S": name}} for name in named("e", 12)]

    _, answer = table.ask("BatchGetItem", RequestItems={"EventsTable": {"Keys": keys, "ConsistentRead": True}})

    assert table.passed == [{"RequestItems": {"EventsTable": {"Keys": keys[:10], "ConsistentRead": True}}}]
    assert answer["UnprocessedKeys"] == {"EventsTable": {"Keys": keys[10:], "ConsistentRead": True}}
    again = table.ask("BatchGetItem", RequestItems={"EventsTable": {"Keys": keys[10:]}})
    assert code_of(again) == "ThrottlingException"


def test_an_eventually_consistent_read_takes_half_as_much() -> None:
    table = Table()
    keys = [{"event_id": {"S": name}} for name in named("e", 20)]

    assert "UnprocessedKeys" not in table.ask("BatchGetItem", RequestItems={"EventsTable": {"Keys": keys}})[1]


def test_a_batch_of_puts_is_handed_back_in_part_and_throttled_where_all_of_it_is() -> None:
    table = Table()
    puts = [{"PutRequest": {"Item": {"pk": {"S": name}, "sk": {"S": "-"}}}} for name in named("e", 12)]

    _, answer = table.ask("BatchWriteItem", RequestItems={"StatsTable": puts})

    assert answer["UnprocessedItems"] == {"StatsTable": puts[10:]}
    assert code_of(table.ask("BatchWriteItem", RequestItems={"StatsTable": puts[10:]})) == "ThrottlingException"


@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem", "DeleteItem"])
def test_a_single_call_is_throttled_as_a_whole(operation: str) -> None:
    table = Table()
    answers = [table.ask(operation, **counter("2025-08-01"), ConsistentRead=True) for _ in range(5)]

    assert [answer[0] for answer in answers[:4]] == 4 * [200]
    assert code_of(answers[4]) == "ThrottlingException"


def test_a_transaction_takes_twice_the_units_and_names_what_was_throttled_in_it() -> None:
    table = Table()

    first, second, third = [table.transact(day, day) for day in named("2025-08-0", 3)]

    assert (first[0], second[0]) == (200, 200)
    assert code_of(third) == "TransactionCanceledException"
    assert [reason["Code"] for reason in third[1]["CancellationReasons"]] == ["None", "ThrottlingError"]


def test_a_transaction_holds_its_items_for_10_to_15_ms_against_other_writes() -> None:
    table = Table(Limits())
    day = "2025-08-01"

    assert table.transact(day, "a")[0] == 200
    assert 0.010 <= table.until <= 0.015
    table.now = table.until - 0.001
    answer = table.transact(day, "b")
    assert code_of(answer) == "TransactionCanceledException"
    assert [reason["Code"] for reason in answer[1]["CancellationReasons"]] == ["None", "TransactionConflict"]
    assert code_of(table.ask("UpdateItem", **counter(day))) == "TransactionConflictException"
    assert table.run('UPDATE "StatsTable" SET dau=? WHERE pk=? AND sk=?', ["1", "counts#0", day]) == [
        "TransactionConflict"
    ]
    assert table.ask("GetItem", **counter(day))[0] == 200
    assert table.transact("2025-08-02", "c")[0] == 200
    table.now = 0.015
    assert table.transact(day, "b")[0] == 200
    assert table.like.answers == {"transactions": 3, "conflicts": 3}

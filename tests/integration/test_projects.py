"""The records of projects, and the days by which each project is counted."""

from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest import mock

import pytest

from rollcall.core.batch import Batch, make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.claims import Claims
from rollcall.counting.receipts import Receipt
from rollcall.intake.idempotency import IdempotencyKeyReused, IdempotencyKeys
from rollcall.questions.asking import Asking
from rollcall.questions.daily_actives import DailyActives
from rollcall.questions.from_counters import Counters
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import counts_key, shard_of
from rollcall.stack.layout import laid_out_timezone
from rollcall.stack.projects import (
    REMEMBERED_SECONDS,
    BadRecord,
    ProjectExists,
    Projects,
    Record,
    TimezoneFixed,
    UnknownProject,
)
from rollcall.stack.settings import BadSetting
from scripts.operate.audit import Audit, Auditor, Drift
from tests.integration.test_lost_answers import sent_twice
from tests.support import RECEIVED_AT, KeptDeadLetters, create_tables, delete_tables, scan

SHOP, SHOP_2 = Project("shop"), Project("shop-2")
NOW = 1_756_684_800.0
CREATED = "2025-09-01T00:00:00Z"


class Stack:
    """Tables, and the projects as one process knows them."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.tables = create_tables(client)
        self.now = NOW
        self.projects = self.process()

    def process(self) -> Projects:
        return Projects(Dynamo(self.client), self.tables.stats, Calendar("UTC", "2025-01-01"), lambda: self.now)

    def consumer(self) -> Claims:
        calendars = partial(self.process().lay_out, self.tables)
        return Claims(Dynamo(self.client), self.tables, calendars, KeptDeadLetters())

    def asking(self, projects: Projects) -> Asking:
        counters = Counters(Dynamo(self.client), self.tables, DEFAULT, Calendar("UTC"))
        return Asking(counters, projects.calendar, None)


@pytest.fixture
def stack(dynamodb: Any) -> Iterator[Stack]:
    made = Stack(dynamodb)
    yield made
    delete_tables(made.client, made.tables)


def batch(project: Project, occurred_at: str = "2025-08-01T12:00:00Z") -> Batch:
    return make_batch(project, [Event("e1", occurred_at, "u", "open", "{}")], "test", RECEIVED_AT)


def test_the_default_project_is_there_without_being_made(stack: Stack) -> None:
    default = Record(DEFAULT, "default", "UTC", None, None)
    assert stack.projects.find(DEFAULT) == default
    assert stack.projects.all() == [default]
    assert stack.projects.calendar(DEFAULT).name == "UTC"


def test_projects_are_made_found_and_listed_by_name(stack: Stack) -> None:
    made = stack.projects.create(SHOP_2, "The other shop", "Europe/Kyiv")
    stack.projects.create(SHOP, "The shop 🛒", "UTC")
    stack.projects.change(DEFAULT, "Ours")
    assert made == Record(SHOP_2, "The other shop", "Europe/Kyiv", CREATED, None)
    assert stack.process().find(SHOP_2) == made
    assert [record.display_name for record in stack.process().all()] == ["Ours", "The shop 🛒", "The other shop"]


def test_a_project_is_made_once(stack: Stack) -> None:
    stack.projects.create(SHOP, "The shop", "UTC")
    for taken in (SHOP, DEFAULT):
        with pytest.raises(ProjectExists, match=taken.name):
            stack.process().create(taken, "Another", "Europe/Kyiv")
    assert stack.projects.find(SHOP).display_name == "The shop"


def test_what_may_have_events_is_known_as_soon_as_another_process_lays_it_out(stack: Stack) -> None:
    reader, asked = stack.process(), [SHOP_2, DEFAULT, SHOP]
    for project, timezone in ((SHOP, "Asia/Tokyo"), (SHOP_2, "UTC")):
        stack.projects.create(project, project.name, timezone)
    assert list(reader.laid_out(asked)) == [DEFAULT]

    stack.process().lay_out(stack.tables, SHOP)

    assert {project: days.name for project, days in reader.laid_out(asked).items()} == {
        DEFAULT: "UTC",
        SHOP: "Asia/Tokyo",
    }
    assert list(reader.laid_out([SHOP_2])) == []


def test_a_project_whose_first_answer_is_lost_is_made_once_and_told(stack: Stack) -> None:
    with mock.patch.object(stack.client, "put_item", sent_twice(stack.client.put_item)):
        assert stack.projects.create(SHOP, "The shop", "UTC") == stack.projects.find(SHOP)


@pytest.mark.parametrize(
    ("display_name", "timezone", "field"),
    [
        ("", "UTC", "display_name"),
        (" \t", "UTC", "display_name"),
        ("x" * 101, "UTC", "display_name"),
        ("a\u202eb", "UTC", "display_name"),
        ("a\nb", "UTC", "display_name"),
        ("a", "Kyiv", "timezone"),
        ("a", "", "timezone"),
        ("a", "../UTC", "timezone"),
    ],
)
def test_what_no_project_can_have_is_refused_by_the_name_of_the_field(
    stack: Stack, display_name: str, timezone: str, field: str
) -> None:
    with pytest.raises(BadRecord) as refused:
        stack.projects.create(SHOP, display_name, timezone)
    assert refused.value.field == field
    with pytest.raises(UnknownProject):
        stack.projects.find(SHOP)
    stack.projects.create(SHOP, "The shop", "Asia/Tokyo")
    with pytest.raises(BadRecord):
        stack.projects.change(SHOP, display_name, timezone)
    assert stack.projects.find(SHOP) == Record(SHOP, "The shop", "Asia/Tokyo", CREATED, None)


def test_a_project_is_renamed_moved_and_archived_and_taken_back(stack: Stack) -> None:
    stack.projects.create(SHOP, "The shop", "UTC")
    assert stack.projects.change(SHOP, "Shop", "Asia/Tokyo") == Record(SHOP, "Shop", "Asia/Tokyo", CREATED, None)
    assert stack.projects.calendar(SHOP).name == "Asia/Tokyo"
    stack.projects.change(SHOP, archived=True)
    stack.now += 60
    assert stack.projects.change(SHOP, archived=True).archived_at == CREATED
    assert stack.projects.change(SHOP, archived=False).archived_at is None
    assert stack.projects.change(SHOP) == Record(SHOP, "Shop", "Asia/Tokyo", CREATED, None)


def test_what_cannot_be_changed_is_said(stack: Stack) -> None:
    for change in ({"display_name": "Shop"}, {"timezone": "UTC"}, {"archived": True}, {"archived": False}):
        with pytest.raises(UnknownProject, match="no project shop"):
            stack.projects.change(SHOP, **change)
    assert not [*scan(stack.client, stack.tables.stats)]
    with pytest.raises(BadRecord, match="always there"):
        stack.projects.change(DEFAULT, archived=True)
    with pytest.raises(TimezoneFixed, match="the stack's timezone"):
        stack.projects.change(DEFAULT, timezone="Asia/Tokyo")


def test_the_timezone_is_fixed_once_events_are_stored(stack: Stack) -> None:
    stack.projects.create(SHOP, "The shop", "UTC")
    stack.projects.change(SHOP, timezone="Pacific/Kiritimati")
    stack.consumer().apply(batch(SHOP))
    with pytest.raises(TimezoneFixed, match="counted by the days"):
        stack.projects.change(SHOP, timezone="UTC")
    assert stack.projects.change(SHOP, "Shop", "Pacific/Kiritimati").display_name == "Shop"
    assert laid_out_timezone(Dynamo(stack.client), stack.tables.stats, SHOP) == "Pacific/Kiritimati"
    assert laid_out_timezone(Dynamo(stack.client), stack.tables.stats, DEFAULT) is None


def test_a_consumer_fixes_the_timezone_as_it_is_and_not_as_it_was_when_another_reads_it(stack: Stack) -> None:
    stack.projects.create(SHOP, "The shop", "UTC")
    late = stack.process()
    assert late.calendar(SHOP).name == "UTC"
    stack.projects.change(SHOP, timezone="Asia/Tokyo")
    stack.consumer().apply(batch(SHOP, "2025-08-01T20:00:00Z"))
    # It had read the record before, and finds the layout now.
    assert late.calendar(SHOP).name == "Asia/Tokyo"
    asking = stack.asking(late)
    assert [day.dau for day in asking.ask(SHOP, DailyActives("2025-08-01", "2025-08-02")).answer] == [0, 1]
    assert [day.dau for day in asking.ask(DEFAULT, DailyActives("2025-08-01", "2025-08-02")).answer] == [0, 0]


def test_a_change_between_reading_and_fixing_is_not_lost(stack: Stack) -> None:
    stack.projects.create(SHOP, "The shop", "UTC")

    class Overtaken(Projects):
        """A consumer that is overtaken by a change once."""

        overtaken = False

        def find(self, project: Project) -> Record:
            found = super().find(project)
            if not self.overtaken:
                self.overtaken = True
                stack.projects.change(project, timezone="Asia/Tokyo")
            return found

    consumer = Overtaken(Dynamo(stack.client), stack.tables.stats, Calendar("UTC"))
    assert consumer.lay_out(stack.tables, SHOP).name == stack.process().calendar(SHOP).name == "Asia/Tokyo"


def test_nothing_of_an_unknown_project_is_stored(stack: Stack) -> None:
    with pytest.raises(UnknownProject):
        stack.consumer().apply(batch(SHOP))
    assert not [*scan(stack.client, stack.tables.events), *scan(stack.client, stack.tables.stats)]
    with pytest.raises(UnknownProject):
        stack.projects.calendar(SHOP)


def test_the_same_event_is_counted_in_each_project_by_its_own_days(stack: Stack) -> None:
    # 25 hours apart: no moment has the same day in both.
    stack.projects.create(SHOP, "The shop", "Pacific/Kiritimati")
    stack.projects.create(SHOP_2, "The other shop", "Pacific/Pago_Pago")
    consumer = stack.consumer()
    for project in (DEFAULT, SHOP, SHOP_2):
        applied = consumer.apply(batch(project, "2025-08-01T10:30:00Z"))
        assert (applied.receipt, applied.repeated) == (Receipt(1, 1, 0, 0, 0), False)
        assert consumer.apply(batch(project, "2025-08-01T10:30:00Z")).repeated
    asking = stack.asking(stack.projects)
    for project, day in ((DEFAULT, "2025-08-01"), (SHOP, "2025-08-02"), (SHOP_2, "2025-07-31")):
        actives = asking.ask(project, DailyActives("2025-07-30", "2025-08-03")).answer
        assert [each.date for each in actives if each.dau] == [day]


def test_an_audit_recounts_one_project_by_its_own_days(stack: Stack) -> None:
    stack.projects.create(SHOP, "The shop", "Pacific/Kiritimati")
    stack.projects.create(SHOP_2, "The other shop", "Pacific/Pago_Pago")
    for project in (DEFAULT, SHOP, SHOP_2):
        stack.consumer().apply(batch(project, "2025-08-01T10:30:00Z"))

    def audit(project: Project) -> Audit:
        return Auditor(stack.client, stack.tables, project, stack.projects.calendar(project), 60).audit()

    assert [audit(project) for project in (DEFAULT, SHOP, SHOP_2)] == [Audit(1, 1, [], {})] * 3
    shard = shard_of(batch(SHOP, "2025-08-01T10:30:00Z").batch_id, stack.tables.counter_shards)
    stack.client.update_item(
        TableName=stack.tables.stats,
        Key={"pk": {"S": counts_key(SHOP, shard)}, "sk": {"S": "2025-08-02"}},
        UpdateExpression="ADD dau :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    assert [audit(project).drifts for project in (DEFAULT, SHOP, SHOP_2)] == [
        [],
        [Drift("daily actives", "2025-08-02", 2, 1)],
        [],
    ]


def test_a_shard_count_that_changed_is_refused_for_a_project_that_is_laid_out(stack: Stack) -> None:
    stack.projects.create(SHOP, "The shop", "UTC")
    stack.projects.lay_out(stack.tables, SHOP)
    changed = stack.tables._replace(user_shards=stack.tables.user_shards + 1)
    with pytest.raises(BadSetting, match="USER_SHARDS"):
        stack.process().lay_out(changed, SHOP)
    assert stack.process().lay_out(stack.tables, SHOP).name == "UTC"


def test_a_process_reads_a_projects_record_again_after_a_while(stack: Stack) -> None:
    stack.projects.create(SHOP, "The shop", "UTC")
    other = stack.process()
    assert other.known(SHOP).display_name == "The shop"
    stack.projects.change(SHOP, "Shop")
    assert other.known(SHOP).display_name == "The shop"
    stack.now += REMEMBERED_SECONDS + 1
    assert other.known(SHOP).display_name == "Shop"


def test_what_was_laid_out_is_not_read_again(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.projects.create(SHOP, "The shop", "Asia/Tokyo")
    stack.consumer().apply(batch(SHOP))
    stack.projects.calendar(SHOP)
    stack.projects.lay_out(stack.tables, SHOP)
    monkeypatch.setattr(stack.projects, "_dynamo", None)
    assert stack.projects.calendar(SHOP) is stack.projects.lay_out(stack.tables, SHOP)
    assert stack.projects.calendar(SHOP).first_day == "2025-01-01"
    assert stack.projects.lay_out(stack.tables, DEFAULT).name == "UTC"


def test_a_caller_may_use_an_idempotency_key_in_each_project(stack: Stack) -> None:
    keys = IdempotencyKeys(Dynamo(stack.client), stack.tables)
    for project, body in ((DEFAULT, b"1"), (SHOP, b"2"), (SHOP_2, b"3")):
        keys.hold(project, "key k", "once", body)
    for project in (DEFAULT, SHOP, SHOP_2):
        with pytest.raises(IdempotencyKeyReused):
            keys.hold(project, "key k", "once", b"4")

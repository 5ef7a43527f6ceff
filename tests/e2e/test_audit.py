"""`rollcall audit`, on a stack that holds what the other tests left."""

from unittest import mock

import pytest

from rollcall.core.batch import make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT
from rollcall.counting.claims import Claims
from rollcall.stack.dynamo import Dynamo
from scripts.operate import audit, stacks
from tests.e2e.conftest import DeployedStack
from tests.support import RECEIVED_AT, KeptDeadLetters, pass_over

pytestmark = pytest.mark.xdist_group("stack")


class Killed(BaseException):
    """The process is gone."""


def test_a_stack_is_audited_by_its_own_settings_and_repaired_when_its_queues_are_empty(stack: DeployedStack) -> None:
    deployed = stacks.Stack("rollcall", stack.client, stack.outputs, {})
    auditor = audit.of_stack(deployed, DEFAULT)
    stack.drain()
    assert auditor.audit().drifts == []
    assert auditor.audit(day="2011-01-01").events == 0

    event = Event("left-behind", "2011-01-01T12:00:00Z", "left behind", "open", "{}")
    tables, calendar = auditor.tables, Calendar("UTC")
    claims = Claims(Dynamo(stack.client("dynamodb")), tables, lambda _: calendar, KeptDeadLetters())
    with mock.patch.object(Dynamo, "transact", side_effect=Killed), pytest.raises(Killed):
        claims.apply(make_batch(DEFAULT, [event], "test", RECEIVED_AT))
    found = auditor.audit(day="2011-01-01")
    assert {drift.what for drift in found.drifts} == {"daily actives", "event type open", "source test"}
    assert len(found.unfinished) == 1

    stack.client("sqs").send_message(QueueUrl=stack.outputs["DeadLetterQueueUrl"], MessageBody="in the way")
    with pytest.raises(audit.CannotRepair, match=r"DeadLetterQueue holds \d messages"):
        audit.refuse_deliverable(deployed)
    stack.client("sqs").purge_queue(QueueUrl=stack.outputs["DeadLetterQueueUrl"])
    assert auditor.repair(found, pass_over) == 1
    after = auditor.audit()
    assert (after.drifts, after.unfinished) == ([], {})

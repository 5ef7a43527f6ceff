"""What the local AWS has saved, and a save that cannot be read."""

from pathlib import Path

import pytest

from scripts.local.ministack import MiniStack, MiniStackError, free_port


def test_data_is_saved_as_a_whole_and_a_save_that_cannot_be_read_stays_as_it_is(tmp_path: Path) -> None:
    stack, port = tmp_path / "state", free_port()
    first = MiniStack(port, tmp_path / "log", stack)
    first.start()
    url = first.client("sqs").create_queue(QueueName="kept")["QueueUrl"]
    first.client("sqs").send_message(QueueUrl=url, MessageBody="once")
    assert first.stop()
    assert {path.name for path in stack.iterdir()} <= {"services", "s3"}

    # As a process leaves it that died before the save was complete.
    (stack / "services.part").mkdir()
    (stack / "services.part/sqs.json").write_text("{")
    second = MiniStack(port, tmp_path / "log", stack)
    second.start()
    received = second.client("sqs").receive_message(QueueUrl=url)
    assert [message["Body"] for message in received["Messages"]] == ["once"]
    assert second.stop()

    saved = stack / "services/sqs.json"
    saved.write_text(damaged := saved.read_text()[:-10])
    third = MiniStack(port, tmp_path / "log", stack)
    with pytest.raises(MiniStackError, match=r"The saved state of sqs cannot be read. It stays as it is."):
        third.start()
    assert saved.read_text() == damaged

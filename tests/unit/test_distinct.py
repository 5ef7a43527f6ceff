import random
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.days import Calendar
from rollcall.files.rows import Row
from scripts.operate import distinct, send_file
from scripts.operate.distinct import Distinct, Repeats


def counted(texts: list[str]) -> int:
    with Distinct() as found:
        for text in texts:
            found.add(text)
        return found.count()


@given(st.lists(st.text(st.characters(), max_size=3)))
def test_different_texts_are_counted_once(texts: list[str]) -> None:
    assert counted(texts) == len(set(texts))


@pytest.mark.parametrize("remembered", [1, 2, 7, 100])
def test_the_count_is_exact_where_the_texts_do_not_fit_into_memory(
    monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    monkeypatch.setattr(distinct, "REMEMBERED", remembered)
    rng = random.Random(1)
    texts = [str(rng.randrange(400)) for _ in range(2_000)]
    assert counted(texts) == len(set(texts))


# Python's hash is that of a text's bytes, so the first two share it, and the last two.
SAME_BYTES = ["ab", "\u6261", "\xe9\xa0", "\ua0e9"]


@pytest.mark.parametrize("remembered", [1, 100])
def test_texts_that_are_the_same_bytes_in_memory_are_different(
    monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    monkeypatch.setattr(distinct, "REMEMBERED", remembered)
    assert counted(SAME_BYTES * 2) == len(SAME_BYTES)
    with Repeats() as found:
        assert not any(found.add(text, text, line) for line, text in enumerate(SAME_BYTES * 2, 1))
        assert list(found.late_conflicts()) == []
        assert found.same == len(SAME_BYTES)


def test_more_may_be_counted_after_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "REMEMBERED", 3)
    with Distinct() as found:
        for text in "abcabcab":
            found.add(text)
        assert found.count() == 3
        found.add("a")
        found.add("d")
        assert found.count() == 4


def test_the_memory_of_a_dry_run_does_not_grow_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "REMEMBERED", 500)

    def peak(rows: int) -> int:
        made = (
            Row(
                line,
                "",
                {
                    "event_id": f"e{line}",
                    "occurred_at": "2024-05-01T10:00:00Z",
                    "user_id": f"u{line}",
                    "event_type": "open",
                },
            )
            for line in range(rows)
        )
        tracemalloc.start()
        found = send_file.survey(made, datetime.now(UTC), lambda _reject: None, Calendar("UTC"))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (found.good, found.duplicates, found.users) == (rows, 0, rows)
        return most

    # 30,000 ids and users alone are more than 4 MB.
    assert peak(30_000) - peak(1_000) < 1_000_000


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2)), max_size=40), st.sampled_from([1, 2, 3, 100]))
def test_repeats_are_compared_with_the_first_content_of_their_id(rows: list[tuple[str, int]], remembered: int) -> None:
    firsts = dict(reversed(rows))
    with pytest.MonkeyPatch.context() as patch, Repeats() as found:
        patch.setattr(distinct, "REMEMBERED", remembered)
        known = [found.add(text, f"{content:016x}", line) for line, (text, content) in enumerate(rows, 1)]
        conflicts = [line for line, conflict in enumerate(known, 1) if conflict]
        conflicts += found.late_conflicts()
        same = found.same
    assert sorted(conflicts) == [line for line, (text, content) in enumerate(rows, 1) if content != firsts[text]]
    assert same == len(rows) - len(firsts) - len(conflicts)


def raw(event_id: str, user_id: str = "u", event_type: str = "open", hour: int = 10) -> dict[str, str]:
    occurred_at = f"2024-05-01T{hour:02}:00:00Z"
    return {"event_id": event_id, "occurred_at": occurred_at, "user_id": user_id, "event_type": event_type}


def surveyed(events: list[dict[str, str]]) -> tuple[send_file.Survey, list[send_file.Reject]]:
    rejects: list[send_file.Reject] = []
    rows = (Row(line, f"row {line}", event) for line, event in enumerate(events, 1))
    return send_file.survey(rows, datetime.now(UTC), rejects.append, Calendar("Europe/Kyiv")), rejects


@pytest.mark.parametrize("remembered", [1, 100])
@pytest.mark.parametrize("field", ["user_id", "event_type"])
@pytest.mark.parametrize(
    ("one", "other"), list(zip(SAME_BYTES[::2], SAME_BYTES[1::2], strict=True)), ids=["ascii", "latin"]
)
def test_a_dry_run_tells_contents_apart_that_are_the_same_bytes_in_memory(
    monkeypatch: pytest.MonkeyPatch, remembered: int, field: str, one: str, other: str
) -> None:
    monkeypatch.setattr(distinct, "REMEMBERED", remembered)
    events = [raw("0"), *(raw("1") | {field: text} for text in (one, other, one))]
    found, rejects = surveyed(events)
    assert (found.conflicts, found.duplicates) == (1, 1)
    assert [reject.line for reject in rejects] == [3]


@pytest.mark.parametrize("remembered", [1, 30, 100_000])
@pytest.mark.parametrize("count", [send_file.ROWS_AT_ONCE, 2 * send_file.ROWS_AT_ONCE + 1, 600])
def test_a_dry_run_tells_exactly_what_a_file_holds_however_many_ids_it_remembers(
    monkeypatch: pytest.MonkeyPatch, remembered: int, count: int
) -> None:
    monkeypatch.setattr(distinct, "REMEMBERED", remembered)
    rng = random.Random(count)
    events = [
        raw(f"e{rng.randrange(count)}", rng.choice(["u", "v", f"{line}", "null"]), "open", rng.randrange(24))
        for line in range(count)
    ]
    good = {line: event for line, event in enumerate(events, 1) if event["user_id"] != "null"}
    firsts = {event["event_id"]: event for event in reversed(good.values())}
    conflicts = [line for line, event in good.items() if event != firsts[event["event_id"]]]

    found, rejects = surveyed(events)

    assert (found.rows, found.bad.total()) == (count, count - len(good))
    assert (found.conflicts, found.duplicates) == (len(conflicts), len(good) - len(firsts) - len(conflicts))
    assert found.users == len({event["user_id"] for event in good.values()})
    assert found.days == {f"2024-05-0{1 + (event['occurred_at'] >= '2024-05-01T21')}" for event in good.values()}
    told = {reject.line: reject for reject in rejects}
    assert sorted(told) == sorted({*range(1, count + 1)} - {*good} | {*conflicts})
    assert len(told) == len(rejects)
    # The ids that are remembered are the first ones.
    known = list(dict.fromkeys(event["event_id"] for event in good.values()))[:remembered]
    assert all(
        reject.row == (f"row {line}" if line not in good or events[line - 1]["event_id"] in known else "")
        for line, reject in told.items()
    )


def test_a_dry_run_reads_few_rows_before_it_reports_a_bad_one() -> None:
    read = 0

    def rows() -> Iterator[Row]:
        nonlocal read
        for read in range(1, 1_000):
            yield Row(read, "", None)

    ahead: list[int] = []
    send_file.survey(rows(), datetime.now(UTC), lambda reject: ahead.append(read - reject.line), Calendar("UTC"))
    assert len(ahead) == 999
    assert max(ahead) < 32

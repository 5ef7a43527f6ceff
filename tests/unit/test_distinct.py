import random
import tracemalloc
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

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.days import Calendar
from rollcall.core.events import parse_event
from scripts.local.sample import EVENT_TYPES, generate

LAST_DAY = date(2024, 3, 1)
LAST_MOMENT = datetime.combine(LAST_DAY + timedelta(days=1), time(), UTC) - timedelta(microseconds=1)


def test_the_same_arguments_make_the_same_events() -> None:
    assert generate(500, 50, 14, LAST_DAY, seed=1) == generate(500, 50, 14, LAST_DAY, seed=1)


def test_another_seed_makes_other_events() -> None:
    one, other = (generate(100, 50, 14, LAST_DAY, seed=seed) for seed in (1, 2))
    assert {event["event_id"] for event in one}.isdisjoint(event["event_id"] for event in other)


@pytest.mark.parametrize("rows", [0, 1, 10, 5_000])
def test_there_are_as_many_events_as_asked_for_each_with_an_id_of_its_own(rows: int) -> None:
    events = generate(rows, 20, 14, LAST_DAY, seed=1)
    assert len(events) == rows
    assert len({event["event_id"] for event in events}) == rows


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(1, 30), st.integers(1, 40), st.integers())
def test_every_event_is_accepted_and_lies_within_the_days(rows: int, users: int, days: int, seed: int) -> None:
    events = generate(rows, users, days, LAST_DAY, seed)
    accepted = [parse_event(event, LAST_MOMENT) for event in events]
    assert len(accepted) == rows
    assert len({event.user_id for event in accepted}) <= users
    assert {event.event_type for event in accepted} <= set(EVENT_TYPES)
    first_day = LAST_DAY - timedelta(days=days - 1)
    assert first_day.isoformat() <= min(event.occurred_at for event in accepted)
    assert max(event.occurred_at for event in accepted)[:10] <= LAST_DAY.isoformat()


@pytest.mark.parametrize("zone", ["Pacific/Apia", "Europe/Kyiv", "America/Sao_Paulo", "Australia/Lord_Howe"])
@pytest.mark.parametrize("last_day", [date(2011, 4, 3), date(2010, 10, 31), date(2017, 10, 16)])
def test_the_days_are_those_of_the_timezone_also_where_its_clocks_change(zone: str, last_day: date) -> None:
    calendar = Calendar(zone)
    events = generate(4_000, 20, 10, last_day, 1, calendar)
    days = {calendar.day_of(parse_event(event, LAST_MOMENT).occurred_at) for event in events}
    assert days == {(last_day - timedelta(days=offset)).isoformat() for offset in range(10)}


def test_the_events_are_in_the_order_of_time() -> None:
    times = [datetime.fromisoformat(event["occurred_at"]) for event in generate(500, 50, 14, LAST_DAY, seed=1)]
    assert times == sorted(times)


def test_every_day_and_user_and_type_is_seen_where_there_are_events_enough() -> None:
    events = generate(5_000, 50, 14, LAST_DAY, seed=1)
    assert {event["occurred_at"][:10] for event in events} == {
        (LAST_DAY - timedelta(days=offset)).isoformat() for offset in range(14)
    }
    assert {event["event_type"] for event in events} == set(EVENT_TYPES)
    assert len({event["user_id"] for event in events}) > 40

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rollcall.core.days import Calendar, add_days, day_count, days_between, days_from, parse_day

days = st.dates(date(1900, 1, 1), date(2200, 1, 1)).map(date.isoformat)


@pytest.mark.parametrize(
    ("zone", "occurred_at", "day"),
    [
        ("UTC", "2025-08-01T00:00:00Z", "2025-08-01"),
        ("UTC", "2025-08-01T23:59:59.999999Z", "2025-08-01"),
        ("Etc/UTC", "2024-12-31T23:59:59Z", "2024-12-31"),
        ("Asia/Kolkata", "2025-08-01T18:29:59Z", "2025-08-01"),
        ("Asia/Kolkata", "2025-08-01T18:30:00Z", "2025-08-02"),
        ("Asia/Kathmandu", "2025-08-01T18:14:59.999999Z", "2025-08-01"),
        ("Asia/Kathmandu", "2025-08-01T18:15:00Z", "2025-08-02"),
        ("Pacific/Kiritimati", "2025-08-01T09:59:59Z", "2025-08-01"),
        ("Pacific/Kiritimati", "2025-08-01T10:00:00Z", "2025-08-02"),
        ("Etc/GMT+12", "2025-08-01T11:59:59Z", "2025-07-31"),
        ("Etc/GMT+12", "2025-08-01T12:00:00Z", "2025-08-01"),
    ],
)
def test_a_day_is_a_calendar_day_of_the_timezone(zone: str, occurred_at: str, day: str) -> None:
    assert Calendar(zone).day_of(occurred_at) == day


@pytest.mark.parametrize(
    ("zone", "last_of_the_old_year", "first_of_the_new_year"),
    [
        ("UTC", "2024-12-31T23:59:59.999999Z", "2025-01-01T00:00:00Z"),
        ("Europe/Kyiv", "2024-12-31T21:59:59.999999Z", "2024-12-31T22:00:00Z"),
        ("America/New_York", "2025-01-01T04:59:59.999999Z", "2025-01-01T05:00:00Z"),
        ("Asia/Kolkata", "2024-12-31T18:29:59.999999Z", "2024-12-31T18:30:00Z"),
    ],
)
def test_a_year_ends_at_local_midnight(zone: str, last_of_the_old_year: str, first_of_the_new_year: str) -> None:
    calendar = Calendar(zone)
    assert calendar.day_of(last_of_the_old_year) == "2024-12-31"
    assert calendar.day_of(first_of_the_new_year) == "2025-01-01"


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("UTC", "2024-02-29T00:00:00Z", "2024-02-29T23:59:59.999999Z"),
        ("Europe/Kyiv", "2024-02-28T22:00:00Z", "2024-02-29T21:59:59.999999Z"),
        ("America/New_York", "2024-02-29T05:00:00Z", "2024-03-01T04:59:59.999999Z"),
    ],
)
def test_a_leap_day_is_a_day_of_its_own(zone: str, first: str, last: str) -> None:
    calendar = Calendar(zone)
    assert (calendar.day_of(first), calendar.day_of(last)) == ("2024-02-29", "2024-02-29")
    assert calendar.day_of(shifted(first, -1)) == "2024-02-28"
    assert calendar.day_of(shifted(last, 1)) == "2024-03-01"


@pytest.mark.parametrize(
    ("zone", "day", "first", "last"),
    [
        pytest.param("Europe/Kyiv", "2024-03-31", "2024-03-30T22:00:00Z", "2024-03-31T20:59:59.999999Z", id="23 hours"),
        pytest.param("Europe/Kyiv", "2024-10-27", "2024-10-26T21:00:00Z", "2024-10-27T21:59:59.999999Z", id="25 hours"),
        pytest.param(
            "America/New_York", "2024-03-10", "2024-03-10T05:00:00Z", "2024-03-11T03:59:59.999999Z", id="23 hours west"
        ),
        pytest.param(
            "America/New_York", "2024-11-03", "2024-11-03T04:00:00Z", "2024-11-04T04:59:59.999999Z", id="25 hours west"
        ),
        pytest.param(
            "America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z", "2018-11-05T01:59:59.999999Z", id="no midnight"
        ),
        pytest.param(
            "Australia/Lord_Howe",
            "2024-10-06",
            "2024-10-05T13:30:00Z",
            "2024-10-06T12:59:59.999999Z",
            id="half an hour",
        ),
    ],
)
def test_a_day_on_which_the_clocks_change_ends_at_local_midnight(zone: str, day: str, first: str, last: str) -> None:
    calendar = Calendar(zone)
    assert (calendar.day_of(first), calendar.day_of(last)) == (day, day)
    assert calendar.day_of(shifted(first, -1)) == add_days(day, -1)
    assert calendar.day_of(shifted(last, 1)) == add_days(day, 1)


def shifted(moment: str, microseconds: int) -> str:
    later = datetime.fromisoformat(moment) + timedelta(microseconds=microseconds)
    return later.isoformat().replace("+00:00", "Z")


def test_both_passes_of_a_repeated_hour_are_of_the_same_day() -> None:
    calendar = Calendar("Atlantic/Azores")
    # At 01:00 UTC the clocks go from 01:00 back to 00:00: midnight has passed before and is not passed again.
    assert calendar.day_of("2024-10-27T00:30:00Z") == "2024-10-27"
    assert calendar.day_of("2024-10-27T01:30:00Z") == "2024-10-27"
    assert calendar.day_of("2024-10-26T23:59:59Z") == "2024-10-26"


def test_a_day_that_a_timezone_skipped_has_no_events() -> None:
    calendar = Calendar("Pacific/Apia")
    assert calendar.day_of("2011-12-30T09:59:59Z") == "2011-12-29"
    assert calendar.day_of("2011-12-30T10:00:00Z") == "2011-12-31"


@pytest.mark.parametrize("zone", ["UTC", "Etc/GMT+12", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati"])
def test_the_earliest_time_that_is_accepted_has_a_day_in_every_timezone(zone: str) -> None:
    assert Calendar(zone).day_of("0001-01-03T00:00:00Z") in {"0001-01-02", "0001-01-03"}


@settings(max_examples=100, deadline=None)
@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds are naive
    st.sampled_from(["Etc/UTC", "Zulu", "Etc/GMT", "Etc/GMT-0"]),
)
def test_utc_by_any_name_has_the_same_days(moment: datetime, name: str) -> None:
    occurred_at = moment.isoformat().replace("+00:00", "Z")
    assert Calendar(name).day_of(occurred_at) == Calendar("UTC").day_of(occurred_at) == occurred_at[:10]


@pytest.mark.parametrize(
    ("zone", "today"),
    [
        ("UTC", "2025-08-01"),
        ("Asia/Kolkata", "2025-08-02"),
        ("America/New_York", "2025-08-01"),
        ("Etc/GMT+12", "2025-08-01"),
    ],
)
@pytest.mark.parametrize("offset", [-11, 0, 13])
def test_today_depends_on_the_calendar_and_not_on_how_now_is_written(zone: str, today: str, offset: int) -> None:
    now = datetime(2025, 8, 1, 20, 0, tzinfo=UTC).astimezone(timezone(timedelta(hours=offset)))
    assert Calendar(zone).today(now) == today


def test_a_calendar_keeps_its_name() -> None:
    assert Calendar("Europe/Kyiv").name == "Europe/Kyiv"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "Europe",
        "Europe/Nowhere",
        "+03:00",
        "../../etc/passwd",
        "/etc/passwd",
        "Europe/Kyiv\0",
        "localtime",
        "posixrules",
        "posix/Europe/Kyiv",
        "right/Europe/Kyiv",
        "\ud800",
        pytest.param("x" * 5000, id="long"),
    ],
)
def test_what_is_no_iana_timezone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not an IANA timezone"):
        Calendar(name)


@pytest.mark.parametrize("day", ["2025-08-01", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"])
def test_a_day_that_exists_is_parsed(day: str) -> None:
    assert parse_day(day) == day


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "20250801",
        "2025-8-1",
        "2025-213",
        "2025-W31-5",
        "25-08-01",
        "12025-08-01",
        "-2025-08-01",
        "2025/08/01",
        "2025-08-01T00:00:00Z",
        " 2025-08-01",
        "2025-08-01\n",
        "2025-08-0\u0661",
    ],
)
def test_a_day_in_another_format_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="has to be a day such as 2025-08-01"):
        parse_day(text)


@pytest.mark.parametrize(
    "text",
    ["2023-02-29", "1900-02-29", "2025-02-30", "2025-04-31", "2025-00-01", "2025-13-01", "2025-08-00", "0000-01-01"],
)
def test_a_day_that_does_not_exist_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=f"{text} does not exist"):
        parse_day(text)


@pytest.mark.parametrize(
    ("day", "count", "result"),
    [
        ("2024-02-28", 1, "2024-02-29"),
        ("2024-02-28", 2, "2024-03-01"),
        ("2023-02-28", 1, "2023-03-01"),
        ("2024-12-31", 1, "2025-01-01"),
        ("2024-03-30", 1, "2024-03-31"),
        ("2024-03-31", 1, "2024-04-01"),
        ("2025-08-01", 0, "2025-08-01"),
        ("2024-03-01", -1, "2024-02-29"),
        ("2024-02-29", 366, "2025-03-01"),
    ],
)
def test_days_are_added_by_the_calendar(day: str, count: int, result: str) -> None:
    assert add_days(day, count) == result


def test_days_past_the_year_9999_overflow() -> None:
    with pytest.raises(OverflowError):
        add_days("9999-12-31", 1)
    with pytest.raises(OverflowError):
        days_from("9999-12-31", 2)


def test_the_last_day_of_the_calendar_can_be_reached() -> None:
    assert days_from("9999-12-30", 2) == ["9999-12-30", "9999-12-31"]


@pytest.mark.parametrize(
    ("first", "last", "result"),
    [
        ("2024-02-28", "2024-03-01", ["2024-02-28", "2024-02-29", "2024-03-01"]),
        ("2024-12-31", "2025-01-01", ["2024-12-31", "2025-01-01"]),
        ("2025-08-01", "2025-08-01", ["2025-08-01"]),
        ("2025-08-02", "2025-08-01", []),
        ("9999-12-31", "9999-12-31", ["9999-12-31"]),
    ],
)
def test_a_range_has_both_its_ends(first: str, last: str, result: list[str]) -> None:
    assert days_between(first, last) == result


@pytest.mark.parametrize(
    ("first", "last", "count"),
    [
        ("2025-08-01", "2025-08-01", 1),
        ("2024-02-28", "2024-03-01", 3),
        ("2023-02-28", "2023-03-01", 2),
        ("2024-01-01", "2024-12-31", 366),
        ("2024-12-31", "2025-01-01", 2),
        ("0001-01-01", "9999-12-31", 3_652_059),
        ("2025-08-02", "2025-08-01", 0),
        ("2025-08-03", "2025-08-01", -1),
        ("9999-12-31", "0001-01-01", -3_652_057),
    ],
)
def test_the_days_of_a_range_are_counted_with_both_its_ends(first: str, last: str, count: int) -> None:
    assert day_count(first, last) == count


@pytest.mark.parametrize(("year", "count"), [("2023", 365), ("2024", 366), ("1900", 365), ("2000", 366)])
def test_a_year_has_all_its_days(year: str, count: int) -> None:
    assert len(set(days_between(f"{year}-01-01", f"{year}-12-31"))) == count


@settings(max_examples=50, deadline=None)
@given(days, st.integers(1, 800))
def test_ranges_are_the_same_however_they_are_asked_for(first: str, count: int) -> None:
    result = days_from(first, count)
    assert len(result) == count
    assert result == sorted(set(result))
    assert result == days_between(first, add_days(first, count - 1))
    assert day_count(first, add_days(first, count - 1)) == count


SKIPPED = [
    ("Pacific/Apia", "2011-12-30"),
    ("Pacific/Fakaofo", "2011-12-30"),
    ("Pacific/Kanton", "1994-12-31"),
    ("Pacific/Kiritimati", "1994-12-31"),
    ("Pacific/Kwajalein", "1993-08-21"),
    ("Asia/Manila", "1844-12-31"),
]


@pytest.mark.parametrize(("zone", "skipped"), SKIPPED)
def test_a_day_that_clocks_skipped_is_no_day_and_not_counted(zone: str, skipped: str) -> None:
    calendar, before, after = Calendar(zone), add_days(skipped, -1), add_days(skipped, 1)
    assert [calendar.is_day(day) for day in (before, skipped, after)] == [True, False, True]
    assert calendar.days_from(before, 3) == [before, after, add_days(skipped, 2)]
    assert calendar.days_from(skipped, 1) == [after]
    assert calendar.days_from(skipped, 0) == []


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("UTC", "2011-12-30"),
        # Clocks go forward at midnight, and back to the day before.
        ("America/Sao_Paulo", "2017-10-15"),
        ("America/Sao_Paulo", "2018-02-18"),
        ("Africa/Cairo", "2024-04-26"),
        # The same day twice.
        ("America/Juneau", "1867-10-18"),
        ("Pacific/Apia", "0001-01-01"),
        ("Pacific/Apia", "9999-12-31"),
        ("Etc/GMT+12", "9999-12-31"),
    ],
)
def test_any_other_day_is_a_day(zone: str, day: str) -> None:
    assert Calendar(zone).is_day(day)
    assert Calendar(zone).days_from(day, 1) == [day]


@given(st.sampled_from([*(zone for zone, _ in SKIPPED), "Europe/Kyiv", "America/Juneau"]), st.dates(date(1840, 1, 1)))
def test_a_day_is_one_if_and_only_if_a_moment_is_of_it(zone: str, day: date) -> None:
    assume(day < date(9999, 12, 30))
    calendar, noon = Calendar(zone), datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    moments = ((noon + timedelta(hours=hour)).isoformat() for hour in range(-40, 41))
    assert calendar.is_day(day.isoformat()) == (day.isoformat() in map(calendar.day_of, moments))


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("UTC", "9999-12-31", 24), ("Europe/Kyiv", "2025-03-30", 23), ("Europe/Kyiv", "2025-10-26", 25)],
)
def test_a_day_is_as_long_as_its_clocks_make_it(zone: str, day: str, hours: int) -> None:
    assert Calendar(zone).seconds_of(day) == hours * 3_600

import json
import string
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.days import Calendar
from rollcall.core.events import PROFILE_TYPES, Event, InvalidEvent, flaw, is_profile_call, parse_event
from rollcall.core.numbers import with_canonical_numbers

NOW = datetime(2025, 8, 3, 12, 0, tzinfo=UTC)
UUID = "7b5ed1eb-83df-4255-a283-87fd4140b95e"
FIELDS = ("event_id", "occurred_at", "user_id", "event_type", "properties")
STORED = Event("e1", "2025-08-03T10:04:15Z", "42", "login", '{"country":"PL"}')

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=10,
)
properties = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
        max_leaves=10,
    ),
    max_size=4,
)


def raw(**fields: Any) -> dict[str, Any]:
    return {
        "event_id": "e1",
        "occurred_at": "2025-08-03T13:04:15+03:00",
        "user_id": "42",
        "event_type": "login",
        "properties": {"country": "PL"},
        **fields,
    }


def parse(**fields: Any) -> Event:
    return parse_event(raw(**fields), NOW)


def refusal(event: object) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        parse_event(event, NOW)
    return caught.value


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_an_event_is_brought_into_canonical_form() -> None:
    assert parse() == Event("e1", "2025-08-03T10:04:15Z", "42", "login", '{"country":"PL"}')


def test_fields_that_an_event_does_not_have_are_ignored() -> None:
    assert parse(colour="red", batch="b", source="s") == STORED


def test_an_accepted_event_is_its_own_canonical_form() -> None:
    again = {**STORED._asdict(), "properties": json.loads(STORED.properties)}
    assert parse_event(again, NOW) == STORED


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (None, "null"),
        (True, "a boolean"),
        ("text", "a string"),
        (7, "a number"),
        (7.5, "a number"),
        ([], "an array"),
        (b"text", "bytes"),
    ],
)
def test_what_is_not_an_object_is_rejected(event: object, kind: str) -> None:
    error = refusal(event)
    assert error.code == "not_an_object"
    assert error.message.endswith(f"not {kind}")


@pytest.mark.parametrize("field", ["event_id", "occurred_at", "user_id", "event_type"])
@pytest.mark.parametrize("present", [False, True])
def test_an_absent_or_null_required_field_is_named(field: str, present: bool) -> None:
    event = raw(**{field: None})
    if not present:
        del event[field]
    error = refusal(event)
    assert error.code == "missing_field"
    assert error.message == f"{field} is missing"


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), json_values) | json_values)
def test_whatever_a_client_sends_is_refused_without_any_other_error(fields: Any) -> None:
    event = raw(**fields) if isinstance(fields, dict) else fields
    with suppress(InvalidEvent):
        assert "".join(parse_event(event, NOW)).encode()


@pytest.mark.parametrize(
    "spelling",
    [
        UUID,
        UUID.upper(),
        "7B5ed1eb-83DF-4255-a283-87fd4140B95E",
        f"{{{UUID}}}",
        f"{{{UUID.upper()}}}",
        f"urn:uuid:{UUID}",
        f"urn:uuid:{UUID.upper()}",
        f"URN:UUID:{UUID.upper()}",
        UUID.replace("-", ""),
        UUID.replace("-", "").upper(),
        f"{{{UUID.replace('-', '')}}}",
    ],
)
def test_a_uuid_in_any_spelling_is_the_same_id(spelling: str) -> None:
    assert parse(event_id=spelling).event_id == UUID


@pytest.mark.parametrize(
    "event_id",
    [
        "a",
        "Order-17",
        "urn:uu\u0131d:7b5ed1eb-83df-4255-a283-87fd4140b95e",
        "0",
        "a b",
        "подія",
        "🎉",
        "x" * 128,
        "я" * 128,
        UUID[:-1],
        f"{UUID}0",
        f"{{{UUID}",
        f"{UUID}}}",
        UUID.replace("e", "g"),
        f"uuid:{UUID}",
    ],
)
def test_an_id_that_is_no_uuid_is_kept_as_it_is(event_id: str) -> None:
    assert parse(event_id=event_id).event_id == event_id


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        "x" * 129,
        "я" * 129,
        "a\n",
        "a\0b",
        "a\tb",
        "a\u202eb",
        "\x7f",
        "a\u200bb",
        "a\x85b",
        "a\xadb",
        "a\u2028b",
        "a\u2029b",
        "a\u2060b",
        "a\u2066b",
        "\ufeffa",
        7,
        7.0,
        True,
        [UUID],
        {"id": UUID},
        b"a",
    ],
)
def test_an_id_that_is_not_1_to_128_characters_that_can_be_seen_is_rejected(event_id: object) -> None:
    error = refusal(raw(event_id=event_id))
    assert error.code == "invalid_event_id"
    assert error.message.startswith("event_id ")


@pytest.mark.parametrize(
    "event_id",
    [
        "👩\u200d👩\u200d👧",
        "❤\ufe0f",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "क्\u200cष",
        "a\xa0b",
        "a\u3000b",
        "\ue000",
        # Not assigned in the Unicode of any Python yet, or in that of some alone.
        "\u0378",
        "\U00010d40",
        "\U0001fae9",
    ],
)
def test_an_id_with_a_joined_emoji_or_a_character_that_a_python_may_not_know_is_taken(event_id: str) -> None:
    assert parse_event(raw(event_id=event_id), NOW).event_id == event_id


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2025-08-01T09:30:00Z", "2025-08-01T09:30:00Z"),
        ("2025-08-01t09:30:00z", "2025-08-01T09:30:00Z"),
        ("2025-08-01 09:30:00Z", "2025-08-01T09:30:00Z"),
        ("2025-08-01T09:30:00+00:00", "2025-08-01T09:30:00Z"),
        ("2025-08-01T09:30:00-00:00", "2025-08-01T09:30:00Z"),
        ("2025-08-01T09:30:00+03:00", "2025-08-01T06:30:00Z"),
        ("2025-08-01T00:30:00+05:45", "2025-07-31T18:45:00Z"),
        ("2025-01-01T00:00:00+14:00", "2024-12-31T10:00:00Z"),
        ("2024-12-31T23:00:00-12:00", "2025-01-01T11:00:00Z"),
        ("2024-02-29T23:59:59-00:01", "2024-03-01T00:00:59Z"),
        ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000Z"),
        ("0001-01-03T00:00:00Z", "0001-01-03T00:00:00Z"),
    ],
)
def test_a_time_is_kept_in_utc(sent: str, kept: str) -> None:
    assert parse(occurred_at=sent).occurred_at == kept


@pytest.mark.parametrize(
    ("fraction", "kept"),
    [
        (".0", ""),
        (".000000", ""),
        (".0000009", ""),
        (".5", ".500000"),
        (".123", ".123000"),
        (".123456", ".123456"),
        (".1234567", ".123456"),
        (".999999999", ".999999"),
        (".123456789012345678901234567890", ".123456"),
    ],
)
def test_a_fraction_is_truncated_to_microseconds(fraction: str, kept: str) -> None:
    assert parse(occurred_at=f"2025-08-01T09:30:59{fraction}Z").occurred_at == f"2025-08-01T09:30:59{kept}Z"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
        ("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:59.250000Z"),
        ("2017-01-01T02:59:60+03:00", "2016-12-31T23:59:59Z"),
        ("2015-06-30T19:59:60-04:00", "2015-06-30T23:59:59Z"),
    ],
)
def test_a_leap_second_stays_on_its_day(sent: str, kept: str) -> None:
    assert parse(occurred_at=sent).occurred_at == kept


@pytest.mark.parametrize(
    "occurred_at",
    [
        pytest.param("2025-08-01T09:30:00", id="naive"),
        pytest.param("2025-08-01", id="date only"),
        pytest.param("2025-08-01Z", id="date with an offset"),
        pytest.param("20250801T093000Z", id="basic format"),
        pytest.param("2025-W31-5T09:30:00Z", id="week date"),
        pytest.param("2025-213T09:30:00Z", id="ordinal date"),
        pytest.param("2025-08-01T09:30Z", id="no seconds"),
        pytest.param("2025-08-01T09:30:00.Z", id="empty fraction"),
        pytest.param("2025-08-01T09:30:00,5Z", id="comma"),
        pytest.param("2025-08-01T09:30:00+03", id="offset without minutes"),
        pytest.param("2025-08-01T09:30:00+0300", id="offset without a colon"),
        pytest.param("2025-08-01T09:30:00+24:00", id="offset of a day"),
        pytest.param("2025-08-01T09:30:00+03:60", id="offset of 60 minutes"),
        pytest.param("2025-08-01T09:30:00 Z", id="space before the offset"),
        pytest.param("2025-08-01T09:30:00Z\n", id="line break after"),
        pytest.param(" 2025-08-01T09:30:00Z", id="space before"),
        pytest.param("2025-08-01T09:30:00 Europe/Kyiv", id="timezone name"),
        pytest.param("2025-08-0\u0661T09:30:00Z", id="Arabic digit"),
        pytest.param("+2025-08-01T09:30:00Z", id="signed year"),
        pytest.param("12025-08-01T09:30:00Z", id="year of five digits"),
        pytest.param("now", id="word"),
        pytest.param("", id="empty"),
        pytest.param("1754040600", id="seconds as text"),
        pytest.param("2023-02-29T00:00:00Z", id="no leap year"),
        pytest.param("1900-02-29T00:00:00Z", id="no leap century"),
        pytest.param("2025-04-31T00:00:00Z", id="31 April"),
        pytest.param("2025-00-10T00:00:00Z", id="month 0"),
        pytest.param("2024-13-01T00:00:00Z", id="month 13"),
        pytest.param("2025-08-00T00:00:00Z", id="day 0"),
        pytest.param("2025-08-01T24:00:00Z", id="hour 24"),
        pytest.param("2025-08-01T09:60:00Z", id="minute 60"),
        pytest.param("2020-01-01T12:34:60Z", id="second 60 at noon"),
        pytest.param("2016-12-31T23:58:60Z", id="second 60 a minute early"),
        pytest.param("2015-03-31T23:59:60Z", id="second 60 in March"),
        pytest.param("2015-06-29T23:59:60Z", id="second 60 a day early"),
        pytest.param("2016-12-31T23:59:60+03:00", id="second 60 of another offset"),
        pytest.param("2025-08-01T09:30:61Z", id="second 61"),
        pytest.param("0000-01-01T00:00:00Z", id="year 0"),
        pytest.param("0001-01-01T00:00:00Z", id="first day of the calendar"),
        pytest.param("0001-01-01T00:00:00+14:00", id="before the calendar"),
        pytest.param("9999-12-31T23:59:59-14:00", id="after the calendar"),
        pytest.param(1754040600, id="seconds"),
        pytest.param(1754040600.5, id="float"),
        pytest.param(True, id="bool"),
        pytest.param(["2025-08-01T09:30:00Z"], id="list"),
        pytest.param({"$date": "2025-08-01T09:30:00Z"}, id="dict"),
        pytest.param(datetime(2025, 8, 1, tzinfo=UTC), id="datetime"),
    ],
)
def test_what_is_not_rfc_3339_with_an_offset_is_rejected(occurred_at: object) -> None:
    error = refusal(raw(occurred_at=occurred_at))
    assert error.code == "invalid_occurred_at"
    assert error.message.startswith("occurred_at ")


@pytest.mark.parametrize(
    ("occurred_at", "reason"),
    [
        ("2025-08-01", "has to be RFC 3339 with an offset"),
        ("2025-08-01T24:00:00Z", "has to be RFC 3339 with an offset"),
        ("2025-04-31T00:00:00Z", "is not a time that exists"),
        ("2025-04-31T00:00:00+03:00", "is not a time that exists"),
        ("0001-01-01T00:00:00Z", "is before 0001-01-03"),
    ],
)
def test_a_time_in_another_form_is_told_from_one_that_does_not_exist(occurred_at: str, reason: str) -> None:
    assert refusal(raw(occurred_at=occurred_at)).message.startswith(f"occurred_at {reason}")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2025-08-03T12:05:00Z", "2025-08-03T12:05:00Z"),
        ("2025-08-03T17:35:00+05:30", "2025-08-03T12:05:00Z"),
        ("2025-08-03T12:05:00.0000009Z", "2025-08-03T12:05:00Z"),
    ],
)
def test_five_minutes_in_the_future_are_accepted_and_not_clamped(sent: str, kept: str) -> None:
    assert parse(occurred_at=sent).occurred_at == kept


@pytest.mark.parametrize(
    "occurred_at",
    [
        "2025-08-03T12:05:00.000001Z",
        "2025-08-03T12:05:01Z",
        "2025-08-03T17:35:01+05:30",
        "2026-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ],
)
def test_more_than_five_minutes_in_the_future_is_rejected_with_the_reason(occurred_at: str) -> None:
    error = refusal(raw(occurred_at=occurred_at))
    assert error.code == "occurred_in_future"
    assert error.message == "occurred_at is more than 5 minutes in the future"


def test_the_bound_on_the_future_holds_within_a_second() -> None:
    now = NOW + timedelta(microseconds=200_000)
    for fraction in ("", ".1", ".2", ".200000"):
        assert parse_event(raw(occurred_at=f"2025-08-03T12:05:00{fraction}Z"), now)
    for fraction in (".200001", ".3", ".999999"):
        with pytest.raises(InvalidEvent, match="in the future"):
            parse_event(raw(occurred_at=f"2025-08-03T12:05:00{fraction}Z"), now)


def test_now_may_be_in_any_timezone() -> None:
    now = NOW.astimezone(timezone(timedelta(hours=-7)))
    assert parse_event(raw(occurred_at="2025-08-03T12:05:00Z"), now).occurred_at == "2025-08-03T12:05:00Z"
    with pytest.raises(InvalidEvent, match="in the future"):
        parse_event(raw(occurred_at="2025-08-03T12:05:01Z"), now)


@settings(max_examples=100, deadline=None)
@given(
    st.datetimes(datetime(1, 1, 5), datetime(2025, 8, 3), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds are naive
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_the_offset_that_a_time_is_written_in_does_not_matter(moment: datetime, minutes: int) -> None:
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert parse(occurred_at=local.isoformat()) == parse(occurred_at=moment.isoformat())


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (123, "123"),
        (0, "0"),
        (-7, "-7"),
        (2**40, "1099511627776"),
        (2**63, "9223372036854775808"),
        ("123", "123"),
        ("00123", "00123"),
        ("User@Example.com", "User@Example.com"),
        ("a#b", "a#b"),
        ("nobody", "nobody"),
        ("NULLable", "NULLable"),
        ("u" * 256, "u" * 256),
        ("я" * 128, "я" * 128),
        pytest.param("🎉" * 64, "🎉" * 64, id="256 bytes"),
    ],
)
def test_a_user_id_is_text_and_an_integer_is_its_decimal_text(sent: object, kept: str) -> None:
    assert parse(user_id=sent).user_id == kept


@pytest.mark.parametrize(
    "user_id",
    [
        pytest.param(True, id="true"),
        pytest.param(False, id="false"),
        pytest.param(1.0, id="float"),
        pytest.param(float("nan"), id="nan"),
        pytest.param([], id="empty list"),
        pytest.param(["42"], id="list"),
        pytest.param({}, id="empty dict"),
        pytest.param({"id": "42"}, id="dict"),
        pytest.param(b"42", id="bytes"),
        pytest.param("", id="empty"),
        pytest.param(" ", id="space"),
        pytest.param("\t\r\n", id="blank"),
        pytest.param("\u00a0\u2003", id="wide blank"),
        pytest.param("null", id="null"),
        pytest.param(" null ", id="null between blanks"),
        pytest.param("NULL", id="NULL"),
        pytest.param("undefined", id="undefined"),
        pytest.param("nan", id="nan text"),
        pytest.param("NaN", id="NaN text"),
        pytest.param("None", id="None"),
        pytest.param("[object Object]", id="object"),
        pytest.param("u" * 257, id="257 bytes"),
        pytest.param("я" * 129, id="258 bytes"),
        pytest.param("🎉" * 65, id="260 bytes"),
        pytest.param(10**256, id="257 digits"),
        pytest.param(10**5000, id="5,001 digits"),
    ],
)
def test_what_is_no_user_is_rejected_with_the_field_named(user_id: object) -> None:
    error = refusal(raw(user_id=user_id))
    assert error.code == "invalid_user_id"
    assert error.message.startswith("user_id ")


@settings(max_examples=100, deadline=None)
@given(st.integers(-(2**64), 2**64))
def test_an_integer_and_its_decimal_text_are_the_same_user(number: int) -> None:
    assert parse(user_id=number) == parse(user_id=f"{number}")


def test_profile_calls_are_told_by_their_whole_type_and_are_accepted_as_other_events_are() -> None:
    for event_type in sorted(PROFILE_TYPES):
        parsed = parse(event_type=event_type)
        assert (parsed.event_type, flaw(parsed), is_profile_call(event_type)) == (event_type, None, True)
    near = ("identify", "$Identify", "$identify ", "$pageview", "$screen", "$", "")
    assert [event_type for event_type in near if is_profile_call(event_type)] == []


@pytest.mark.parametrize(
    "event_type",
    [
        "login",
        "a#b",
        "#",
        "dau",
        "\0",
        "a\0b",
        " ",
        "null",
        "🎉",
        "👩\u200d💻",
        "покупка",
        "a\nb",
        '"',
        "x" * 128,
        pytest.param("🎉" * 128, id="512 bytes"),
    ],
)
def test_an_event_type_may_hold_any_character(event_type: str) -> None:
    assert parse(event_type=event_type).event_type == event_type


@pytest.mark.parametrize(
    "event_type",
    ["", "x" * 129, pytest.param("🎉" * 129, id="129 emoji"), 7, 7.5, True, ["login"], {"name": "login"}, b"login"],
)
def test_an_event_type_that_is_not_1_to_128_characters_is_rejected(event_type: object) -> None:
    error = refusal(raw(event_type=event_type))
    assert error.code == "invalid_event_type"
    assert error.message.startswith("event_type ")


@pytest.mark.parametrize("event", [raw(properties=None), {k: v for k, v in raw().items() if k != "properties"}])
def test_properties_are_optional(event: dict[str, Any]) -> None:
    assert parse_event(event, NOW).properties == "{}"


def test_properties_are_kept_as_text_with_sorted_keys_and_no_spaces() -> None:
    kept = parse(properties={"b": [1, 2.5, None, True], "a": {"я": "🎉", "c": "\n"}}).properties
    assert kept == '{"a":{"c":"\\n","я":"🎉"},"b":[1,2.5,null,true]}'


@pytest.mark.parametrize("value", [[], [{"a": 1}], "{}", 7, 0.5, True, False, "", b"{}"])
def test_properties_that_are_no_object_are_rejected(value: object) -> None:
    error = refusal(raw(properties=value))
    assert error.code == "invalid_properties"
    assert error.message.startswith("properties ")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("nan"), id="NaN"),
        pytest.param(float("inf"), id="Infinity"),
        pytest.param(float("-inf"), id="-Infinity"),
        pytest.param(json.loads("1e400"), id="1e400"),
        pytest.param(b"bytes", id="bytes"),
        pytest.param({b"key": 1}, id="key of bytes"),
        pytest.param({b"key": 1, "key": 2}, id="keys of two types"),
        pytest.param(datetime(2025, 8, 1, tzinfo=UTC), id="time"),
        pytest.param(nested(100_000), id="too deep"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda value: {"a": value}, lambda value: {"a": [{"b": value}]}])
def test_properties_that_json_cannot_hold_are_rejected(wrap: Any, value: object) -> None:
    error = refusal(raw(properties=wrap(value)))
    assert error.code == "invalid_properties"
    assert error.message.startswith("properties ")


def test_properties_may_nest_a_hundred_levels() -> None:
    assert parse(properties=nested(100)).properties == '{"a":' * 100 + "{}" + "}" * 100


@pytest.mark.parametrize("opened", ['{"a":', "["])
def test_properties_that_nest_deeper_than_128_levels_are_refused(opened: str) -> None:
    closed = "}" if opened != "[" else "]"
    deepest = json.loads('{"b":' + opened * 127 + '"[{"' + closed * 127 + "}")
    assert parse(properties=deepest).properties.count(opened[0]) == 129 - (opened == "[")
    error = refusal(raw(properties={"c": [], "b": [deepest["b"]]}))
    assert (error.code, error.message) == ("invalid_properties", "properties nests deeper than 128 levels")


@settings(max_examples=50, deadline=None)
@given(properties)
def test_properties_are_read_back_as_they_were_sent(sent: dict[str, Any]) -> None:
    assert json.loads(parse(properties=sent).properties) == sent


@settings(max_examples=50, deadline=None)
@given(properties, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(sent: dict[str, Any], random: Random) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(item) for item in value]
        if not isinstance(value, dict):
            return value
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key]) for key in keys}

    assert parse_event(shuffled(raw(properties=sent)), NOW) == parse(properties=sent)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", "a\ud800"),
        ("event_id", "\udfffa\n"),
        ("user_id", "a\udc80"),
        ("event_type", "\ud83d"),
        ("properties", {"a": "\udfff"}),
        ("properties", {"\ud800": 1}),
        ("properties", {"a": ["\udf89\ud83c"]}),
    ],
)
def test_a_lone_surrogate_is_rejected_with_the_field_named(field: str, value: object) -> None:
    error = refusal(raw(**{field: value}))
    assert error.code == "invalid_unicode"
    assert error.message.startswith(f"{field} ")


def test_a_lone_surrogate_in_the_time_is_rejected() -> None:
    error = refusal(raw(occurred_at="2025-08-01T09:30:00Z\ud800"))
    assert error.code == "invalid_occurred_at"
    assert error.message.startswith("occurred_at ")


@pytest.mark.parametrize("character", ["x", "я", "🎉"])
def test_an_event_may_have_32_kb(character: str) -> None:
    fixed = len("e1" + "2025-08-03T10:04:15Z" + "42" + "login" + '{"a":""}')
    count, rest = divmod(32 * 1024 - fixed, len(character.encode()))
    text = character * count + "." * rest
    assert parse(properties={"a": text}).properties == f'{{"a":"{text}"}}'
    error = refusal(raw(properties={"a": f"{text}."}))
    assert error.code == "event_too_large"
    assert "32769" in error.message
    assert "32768" in error.message


def test_a_fingerprint_is_8_bytes_in_hex() -> None:
    fingerprint = STORED.fingerprint()
    assert len(fingerprint) == 16
    assert set(fingerprint) <= set(string.hexdigits.lower())


def test_the_id_has_no_part_in_the_fingerprint() -> None:
    assert parse(event_id="e2").fingerprint() == STORED.fingerprint()


@pytest.mark.parametrize(
    "fields",
    [
        {"occurred_at": "2025-08-03T10:04:15Z"},
        {"occurred_at": "2025-08-03T10:04:15.000000+00:00"},
        {"user_id": 42},
        {"properties": {"country": "PL"}, "unknown": 1},
    ],
)
def test_equal_content_has_an_equal_fingerprint(fields: dict[str, Any]) -> None:
    assert parse(**fields).fingerprint() == STORED.fingerprint()


@pytest.mark.parametrize(
    "fields",
    [
        {"occurred_at": "2025-08-03T10:04:15.000001Z"},
        {"user_id": "43"},
        {"event_type": "Login"},
        {"properties": None},
        {"properties": {"country": "pl"}},
        {"properties": {"country": ["PL"]}},
    ],
)
def test_other_content_has_another_fingerprint(fields: dict[str, Any]) -> None:
    assert parse(**fields).fingerprint() != STORED.fingerprint()


@settings(max_examples=100, deadline=None)
@given(st.text("1:a", min_size=1, max_size=8), st.data())
def test_characters_that_move_from_one_field_to_the_next_change_the_fingerprint(text: str, data: st.DataObject) -> None:
    one, other = (data.draw(st.integers(0, len(text)), label="cut") for _ in range(2))
    fingerprints = {
        Event("e", "2025-08-03T10:04:15Z", text[:cut], text[cut:], "{}").fingerprint() for cut in (one, other)
    }
    assert len(fingerprints) == len({one, other})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "1:b"), ("a3:", "b")),
        (("1:a", "b"), ("1", "ab")),
        (("a1", "1:b"), ("a", "11:b")),
    ],
)
def test_users_and_types_that_look_alike_when_joined_have_other_fingerprints(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    fingerprints = {STORED._replace(user_id=user, event_type=kind).fingerprint() for user, kind in (one, other)}
    assert len(fingerprints) == 2


def test_an_accepted_event_has_no_flaw() -> None:
    assert flaw(STORED) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", ""),
        ("event_id", "🎉" * 129),
        ("event_id", "shop\x1fe1"),
        ("user_id", ""),
        ("user_id", "я" * 129),
        ("event_type", ""),
        ("event_type", "x" * 129),
        ("occurred_at", ""),
        ("occurred_at", "Z"),
        ("occurred_at", "yesterday"),
        ("occurred_at", "2025-08-03T10:04:15"),
        ("occurred_at", "2025-08-03T10:04:15+00:00"),
        ("occurred_at", "2025-02-29T10:04:15Z"),
        ("occurred_at", "0001-01-01T00:00:00Z"),
        ("occurred_at", "9999-12-31T23:59:59Z"),
        ("occurred_at", "20250803T100415Z"),
        ("occurred_at", "2025-W31-5T00:00:00Z"),
    ],
)
def test_an_event_that_would_break_a_key_or_a_day_has_a_flaw_that_names_the_field(field: str, value: str) -> None:
    reason = flaw(STORED._replace(**{field: value}))
    assert reason is not None
    assert reason.startswith(f"{field} ")


@pytest.mark.parametrize("field", ["event_id", "user_id", "event_type"])
def test_the_flaws_of_text_that_is_no_unicode_are_told_without_an_error(field: str) -> None:
    assert flaw(STORED._replace(**{field: "\ud800" * 600})) is not None


# Fields of the form that is read quickly, and others, which differ from it in little.
QUICK: dict[str, list[object]] = {
    "event_id": ["e1", UUID, "0" * 64, "x" * 128, "A b", "X" * 35],
    "occurred_at": [
        "2025-08-01T00:00:00Z",
        "2025-08-01T23:59:59+00:00",
        "2024-02-29T10:20:30Z",
        "2025-08-03T12:05:00Z",
        *("2025-08-01T00:00:00.5Z", "2025-08-01T00:00:00.000Z", "2025-08-01T23:59:59.123456+00:00"),
        *("2025-08-01T00:00:00.1234567-07:00", "2025-08-01T00:00:00.0000009Z", "2025-08-03T12:04:59.999999999Z"),
        "2025-08-03T12:05:00.0Z",
    ],
    "user_id": ["42", "u", "noname", "x" * 256, "1 null", " u "],
    "event_type": ["open", "a" * 128, "other", " "],
    "properties": [{}, None, {"a": 1}, {"b": 9.5, "a": "x"}, {"a": [1, {"b": 2}], "c": True}, {"\u00e9": "\u044f"}],
}
OTHERS: dict[str, list[object]] = {
    "event_id": [
        *("", "x" * 129, "\u00e9", "a\tb", "\ud800", "\u200b", "\x7f", None, 7, True, [], b"e1"),
        *(UUID.upper(), UUID.replace("-", ""), f"{{{UUID}}}", f"urn:uuid:{UUID}", f"URN:UUID:{{{UUID}}}"),
        *("x" * 32, "0" * 32, "X" * 36, f"{UUID[:-1]}G", f"urn:uuid:{UUID.replace('-', '')}"),
    ],
    "occurred_at": [
        *("", None, 7, [], b"2025-08-01T00:00:00Z", "2025-08-01", "2025-08-01T00:00:00", "20250801T000000Z"),
        *("2025-08-01t00:00:00z", "2025-08-01 00:00:00Z", "2025-08-01T00:00:00Z\n", " 2025-08-01T00:00:00Z"),
        *("2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z", "2025-08-00T00:00:00Z", "2025-W31-5T00:00:00Z"),
        *("2025-08-01T24:00:00Z", "2025-08-01T00:60:00Z", "2025-08-01T00:00:60Z", "2016-12-31T23:59:60Z"),
        *("2025-08-01T00:00:00.Z", "2025-08-01T00:00:00.5", "2025-08-01T00:00:00,5Z", "2025-08-01T00:00:00.5.5Z"),
        *("2025-08-01T00:00:00.\u0660Z", "2025-08-01T00:00:00. 5Z", "2025-08-01T00:00:00.5+05:30"),
        *("2016-12-31T23:59:60.5Z", "0001-01-03T00:00:00.5Z", "0001-01-02T23:59:59.5Z", "2025-08-03T12:05:00.5Z"),
        *("2025-08-01T00:00:00+01:00", "2025-08-01T00:00:00-00:00", "2025-08-01T00:00:00+00:00Z"),
        *("0000-01-01T00:00:00Z", "0001-01-02T23:59:59Z", "0001-01-03T00:00:00Z", "9999-12-31T00:00:00Z"),
        *("2025-08-03T12:05:01Z", "2025-08-03T12:05:01+00:00", "2025-08-04T00:00:00Z"),
        *("2025-08-01T00:00:0\u0660Z", "202\u0665-08-01T00:00:00Z", "2025-08-01\ud800T00:00:00Z"),
    ],
    "user_id": [
        *("", " ", "\t", "NULL", " none ", "nil", "[object Object]", "x" * 257, "\u00e9" * 129, "\u0663", "a\nb"),
        *("\udcff", 42, -1, 10**5_000, True, None, [], 1.5),
    ],
    "event_type": ["", "$other", "a" * 129, "\u00e9", "\n", "\ud83d", None, 1, {}],
    "properties": [
        *([], "x", 1, {"a": 1.0}, {"a": [100.0]}, {"a": {"b": 1e22}}, {"a": -0.0}, {"a": (1, 2.0)}, {1: 2}),
        *({"a": 10**21}, {"a": -(10**21)}, {"a": 10**21 - 1}, {"a": float("nan")}, {"a": [float("inf")]}),
        *({"a": b"x"}, {"a": "\ud800"}, {"a": InvalidEvent("repeated_field", "x")}, nested(127), nested(128)),
        *({"a": "x" * 33_000}, {"a": "x" * 32_732}, {"a": "x" * 32_733}, {"a": "\u00e9" * 16_366}),
        *({"a": "\u00e9" * 16_367}, InvalidEvent("repeated_field", "x")),
    ],
}
CALENDARS = [None, Calendar("UTC", "2024-03-01"), Calendar("Asia/Tokyo", "2025-08-02")]


def assert_read_alike(raw: dict[str, object], calendar: Calendar | None) -> None:
    def read(sent: object) -> object:
        try:
            return parse_event(sent, NOW, calendar)
        except InvalidEvent as error:
            return error.code, error.message

    # What is no dict is looked at thoroughly.
    assert read(raw) == read(MappingProxyType(raw))


@pytest.mark.parametrize("field", QUICK)
def test_an_event_of_the_most_common_form_is_read_quickly(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollcall.core.events._event", None)
    for value in QUICK[field]:
        parse_event({name: values[0] for name, values in QUICK.items()} | {field: value}, NOW)


@pytest.mark.parametrize("calendar", CALENDARS, ids=["every day", "UTC", "Tokyo"])
@pytest.mark.parametrize("field", QUICK)
def test_an_event_is_read_quickly_as_it_is_thoroughly(field: str, calendar: Calendar | None) -> None:
    usual = {name: values[0] for name, values in QUICK.items()}
    for value in QUICK[field] + OTHERS[field]:
        assert_read_alike(usual | {field: value}, calendar)
    del usual[field]
    assert_read_alike(usual, calendar)


@settings(max_examples=80)
@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(QUICK[name] + OTHERS[name]) for name in QUICK}))
def test_an_event_with_several_faults_is_refused_quickly_as_it_is_thoroughly(raw: dict[str, object]) -> None:
    for calendar in CALENDARS:
        assert_read_alike(raw, calendar)


@settings(max_examples=80)
@given(properties)
def test_properties_are_kept_as_python_s_json_writes_them_but_for_numbers(sent: dict[str, Any]) -> None:
    sent = {**sent, "x": [{"y": [1.0, 1e22, 0.5, -0.0]}]}
    written = json.dumps(sent, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    assert parse(properties=sent).properties == with_canonical_numbers(written)

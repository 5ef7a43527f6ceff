import pytest

from rollcall.questions.segment import BadSegment, Condition, parse_segment


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("event_type:purchase", Condition(None, "purchase")),
        ("event_type:a:b", Condition(None, "a:b")),
        ("properties.country:UA", Condition("country", "UA")),
        ("properties.a.b:c:d", Condition("a.b", "c:d")),
        ("properties.empty:", Condition("empty", "")),
        ("properties. :'; DROP TABLE events --", Condition(" ", "'; DROP TABLE events --")),
    ],
)
def test_a_segment_names_a_field_up_to_the_first_colon_and_its_value(text: str, condition: Condition) -> None:
    assert parse_segment(text) == condition


@pytest.mark.parametrize(
    "text", ["", "purchase", "event_type", "event_type:", "properties:x", "properties.:x", "user_id:7", "Event_type:x"]
)
def test_what_names_no_field_or_no_value_is_refused(text: str) -> None:
    with pytest.raises(BadSegment, match=r"has to be event_type:VALUE or properties\.NAME:VALUE"):
        parse_segment(text)


@pytest.mark.parametrize(("name", "pointer"), [("a", "/a"), ("a/b~c", "/a~1b~0c"), ("~1", "/~01"), ("*", "/*")])
def test_a_property_is_a_json_pointer(name: str, pointer: str) -> None:
    assert Condition(name, "").pointer() == pointer


@pytest.mark.parametrize(
    ("value", "number"),
    [("1.5", 1.5), ("1e3", 1000.0), ("1", None), ("true", None), ("UA", None), ("NaN", None), ("[1.5]", None)],
)
def test_a_value_with_a_fraction_or_an_exponent_is_a_number(value: str, number: float | None) -> None:
    assert Condition("p", value).number() == number


@pytest.mark.parametrize(
    ("value", "literals"),
    [
        ("UA", ['"UA"']),
        ('a"\0', ['"a\\"\\u0000"']),
        ("true", ['"true"', "true"]),
        ("-7", ['"-7"', "-7"]),
        ("007", ['"007"']),
        ("1.5", ['"1.5"']),
        ("null", ['"null"']),
        ("[1]", ['"[1]"']),
    ],
)
def test_a_value_is_looked_for_as_json_writes_it(value: str, literals: list[str]) -> None:
    assert Condition("p", value).literals() == literals

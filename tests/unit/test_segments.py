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
    ("value", "texts", "as_float"),
    [
        ("1.5", ["1.5"], 1.5),
        ("1.50", ["1.5"], 1.5),
        ("100", ["100", "100.0"], 100.0),
        ("100.0", ["100", "100.0"], 100.0),
        ("1e2", ["100", "100.0"], 100.0),
        ("-7", ["-7", "-7.0"], -7.0),
        ("-0.0", ["0", "-0.0", "0.0"], 0.0),
        ("0", ["0", "0.0", "-0.0"], 0.0),
        ("1e16", ["10000000000000000", "1e+16"], 1e16),
        ("1e22", ["1e+22", "10000000000000000000000"], 1e22),
        ("9007199254740993", ["9007199254740993"], None),
        ("9" * 400, ["9" * 400], None),
        ("1e400", [], None),
        ("007", [], None),
        ("+1", [], None),
        ("true", [], None),
        ("UA", [], None),
        ("NaN", [], None),
        ("[1.5]", [], None),
        ("\u0661", [], None),
    ],
)
def test_a_number_is_looked_for_in_each_way_that_it_may_be_stored(
    value: str, texts: list[str], as_float: float | None
) -> None:
    found, number = Condition("p", value).numbers()
    assert (set(found), number) == (set(texts), as_float)


@pytest.mark.parametrize(("value", "literal"), [("UA", '"UA"'), ('a"\0', '"a\\"\\u0000"'), ("1.5", '"1.5"')])
def test_a_string_is_looked_for_as_properties_write_it(value: str, literal: str) -> None:
    assert Condition("p", value).literal() == literal

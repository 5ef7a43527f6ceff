"""The names of the counters, which hold what clients wrote, and the keys of projects."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.events import MAX_EVENT_TYPE_CHARACTERS
from rollcall.core.projects import DEFAULT, BadProject, Project
from rollcall.counting.counters import INLINE_BYTES, Vocabulary
from rollcall.stack import keys
from rollcall.stack.keys import (
    DAILY_ACTIVES,
    OVERFLOW,
    PROCESSING,
    counted_source,
    counted_type,
    source_attribute,
    split_key,
    type_attribute,
)

# What escapes are made of comes often, so that names look like escaped ones.
NAMES = st.text(st.sampled_from("~;07edf\0\n\u200b\ue000é🎉") | st.characters(exclude_categories=["Cs"]), min_size=1)
OWN = {"pk", "sk", "expires_at", DAILY_ACTIVES, OVERFLOW, PROCESSING}
# All of the first two planes, and some of the others.
CHARACTERS = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x20000), *range(0x20000, 0x110000, 0xFF))]


def test_the_name_of_a_counter_has_printable_characters_only_and_tells_any_character() -> None:
    together = "".join(CHARACTERS)
    assert type_attribute(together).isprintable()
    assert counted_type(type_attribute(together)) == together


def test_usual_names_are_written_as_they_are() -> None:
    for name in ("login", "Sign up: 50% off!", "a#b", "~", "~user", "покупка", "会員登録", "عرض", "é", "🎉"):
        assert type_attribute(name) == f"#{name}"
        assert source_attribute(name) == f"@{name}"


def test_a_character_that_may_not_be_printable_is_its_code_point() -> None:
    assert type_attribute("a\0b\u200d\U000e0001") == "#a~0;b~200d;~e0001;"
    assert type_attribute("~0;") == "#~7e;0;"


@settings(max_examples=300, deadline=None)
@given(NAMES)
def test_the_name_of_a_counter_tells_what_it_counts(name: str) -> None:
    of_type, of_source = type_attribute(name), source_attribute(name)
    assert (counted_type(of_type), counted_source(of_type)) == (name, None)
    assert (counted_type(of_source), counted_source(of_source)) == (None, name)
    assert of_type.isprintable()
    assert of_source.isprintable()
    assert not OWN & {of_type, of_source}


@settings(max_examples=300, deadline=None)
@given(NAMES, NAMES)
def test_no_two_names_share_a_counter(one: str, other: str) -> None:
    assert (type_attribute(one) == type_attribute(other)) == (one == other)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(categories=["Cc", "Cf"]), min_size=1))
def test_names_that_were_stored_as_they_were_written_are_read_so(name: str) -> None:
    assert counted_type(f"#{name}") == counted_source(f"@{name}") == name


def test_what_looks_like_an_escaped_surrogate_is_read_as_it_is() -> None:
    for name in ("~d800;", "~dfff;", "~110000;", "~0d800;"):
        assert counted_type(f"#{name}") == counted_type(type_attribute(name)) == name


def test_the_room_in_a_day_is_that_of_the_names_as_they_are_stored() -> None:
    vocabulary = Vocabulary()
    wide = [f"{number}" + "\0" * (MAX_EVENT_TYPE_CHARACTERS - 1) for number in range(10)]
    admitted = [name for name in wide if vocabulary.admit(name)]
    assert 1 < len(admitted) < len(wide)
    assert sum(len(type_attribute(name).encode()) for name in admitted) <= INLINE_BYTES


SHOP, DAY, BATCH = Project("shop"), "2025-08-01", "b" * 32
# What a table's key is made of, and the default project's key as it was before there were projects.
IN_TABLES: dict[str, tuple[Callable[[Project], str], str]] = {
    "event": (lambda project: keys.event_key(project, "e#1"), "e#1"),
    "users of a day": (lambda project: keys.users_key(project, DAY, 3), "users#2025-08-01#3"),
    "counters": (lambda project: keys.counts_key(project, 2), "counts#2"),
    "event types without room": (lambda project: keys.overflow_key(project, DAY, 1), "types#1#2025-08-01"),
    "first day": (lambda project: keys.first_day_key(project, "u#\x1fv"), "first#u#\x1fv"),
    "day of the index": (lambda project: keys.indexed_day(project, DAY), "2025-08-01"),
    "receipt": (lambda project: keys.receipt_key(project, BATCH), f"batch#{BATCH}"),
    "ledger": (lambda project: keys.ledger_key(project, "k", 3), "ledger#3#k"),
    "delivery": (lambda project: keys.delivery_key(project, "d"), "delivery#d"),
    "idempotency key": (lambda project: keys.idempotency_key(project, "key k", "d"), "idempotency#d#key k"),
    "layout": (keys.layout_key, "layout"),
    "import": (lambda project: keys.import_key(project, "i"), "import#i"),
    "batches of an import": (lambda project: keys.import_batches_key(project, "i"), "batches#i"),
}
# What an object's key is made of, the default project's key as it was, and another project's.
IN_BUCKETS: dict[str, tuple[Callable[[Project], str], str, str]] = {
    "upload": (
        lambda project: keys.invited_key(project, "0" * 32, "a.csv"),
        f"uploads/{'0' * 32}/a.csv",
        f"uploads/project=shop/{'0' * 32}/a.csv",
    ),
    "users of a day": (
        lambda project: keys.day_users_object(project, DAY, 7),
        "day-users/2025-08-01/7",
        "day-users/project=shop/2025-08-01/7",
    ),
    "batch": (
        lambda project: keys.batch_object(project, BATCH),
        f"batches/{BATCH}.json.gz",
        f"project=shop/batches/{BATCH}.json.gz",
    ),
    "rejects": (
        lambda project: keys.rejects_object(project, "k", DAY, "d"),
        "rejects/key=k/day=2025-08-01/d.jsonl.gz",
        "rejects/project=shop/key=k/day=2025-08-01/d.jsonl.gz",
    ),
    "bundle": (
        lambda project: keys.bundle_object(project, 4, "n"),
        "bundles/000004/n.json.gz",
        "project=shop/bundles/000004/n.json.gz",
    ),
    "day": (
        lambda project: keys.day_object(project, DAY),
        "events/day=2025-08-01/events.parquet",
        "events/project=shop/day=2025-08-01/events.parquet",
    ),
}
# What is listed in the buckets.
LISTED: tuple[Callable[[Project], str], ...] = (keys.waiting_objects, keys.batch_objects, keys.day_objects)
PROJECTS = st.from_regex("[a-z][a-z0-9-]{0,31}", fullmatch=True).map(Project) | st.sampled_from(
    [DEFAULT, *map(Project, ("d", "default-", "defaults", "shop", "shop-2", "shop2", "b", "batches", "day", "users"))]
)
# Whatever a door or an earlier version may have let in as a text of its own.
TEXTS = st.text(st.sampled_from("#\x1fabde-shop/=") | st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize("kind", IN_TABLES)
def test_the_default_projects_keys_do_not_name_it_and_anothers_begin_with_its_name(kind: str) -> None:
    make, plain = IN_TABLES[kind]
    assert make(DEFAULT) == make(Project("default")) == plain
    assert make(SHOP) == f"shop\x1f{plain}"
    assert split_key(make(SHOP)) == (SHOP, plain)
    assert split_key(plain) == (DEFAULT, plain)


@pytest.mark.parametrize("kind", IN_BUCKETS)
def test_the_default_projects_objects_do_not_name_it_and_anothers_are_in_its_folder(kind: str) -> None:
    make, plain, of_shop = IN_BUCKETS[kind]
    assert make(DEFAULT) == plain
    assert make(SHOP) == of_shop


def test_each_project_has_a_lease_in_the_one_partition_that_a_role_may_change() -> None:
    assert keys.BUNDLING_KEY == "bundling"
    assert (keys.lease_key(DEFAULT), keys.lease_key(SHOP)) == ("-", "shop")


def table_keys(project: Project, text: str) -> Iterator[str]:
    """Every key of a project that a table may have, with what a client wrote in it."""
    yield from (make(project) for make, _ in IN_TABLES.values())
    yield keys.first_day_key(project, text)
    yield keys.idempotency_key(project, text, "d")
    # No door takes a control character in an event's id, and the consumer stores none with the separator.
    yield keys.event_key(project, text.replace("\x1f", "#"))


@settings(max_examples=60, deadline=None)
@given(PROJECTS, PROJECTS, TEXTS, TEXTS)
def test_no_two_projects_share_a_key_and_each_key_tells_its_project(
    one: Project, other: Project, text: str, another: str
) -> None:
    ours, theirs = set(table_keys(one, text)), set(table_keys(other, another))
    assert {split_key(key)[0] for key in ours} == {one}
    if one != other:
        assert not ours & theirs


@settings(max_examples=60, deadline=None)
@given(PROJECTS, PROJECTS)
def test_no_list_of_one_project_shows_an_object_of_another(one: Project, other: Project) -> None:
    ours = {make(one) for make, *_ in IN_BUCKETS.values()}
    for listed in LISTED:
        assert any(key.startswith(listed(one)) for key in ours)
        assert one == other or not any(key.startswith(listed(other)) for key in ours)
    assert one == other or not ours & {make(other) for make, *_ in IN_BUCKETS.values()}


@settings(max_examples=60, deadline=None)
@given(PROJECTS, TEXTS)
def test_what_is_in_a_projects_key_is_read_from_it(project: Project, text: str) -> None:
    assert keys.event_id_of(project, keys.event_key(project, text)) == text
    assert keys.batch_of_receipt(project, keys.receipt_key(project, BATCH)) == BATCH
    assert keys.day_of_index(project, keys.indexed_day(project, DAY)) == DAY
    assert keys.batch_of_object(project, keys.batch_object(project, BATCH)) == BATCH
    assert keys.day_of_object(project, keys.day_object(project, DAY)) == DAY
    assert keys.tier_of_object(project, keys.bundle_object(project, 12, "n")) == 12
    assert keys.tier_of_object(project, keys.batch_object(project, BATCH)) == 0
    assert keys.is_invited_key(keys.invited_key(project, "0" * 32, "a.csv"))


@pytest.mark.parametrize(
    "name",
    ["", "*", "-a", "1a", "Shop", "a_b", "a.b", "a b", "a\n", "a\x1f", "caf\u00e9", "\u0661a", "a" * 33, "a/b", "a#b"],
)
def test_a_name_that_no_project_can_have_is_refused(name: str) -> None:
    with pytest.raises(BadProject, match="1 to 32 of a-z, 0-9 and -"):
        Project(name)


@pytest.mark.parametrize(
    ("folder", "project"),
    [
        ("batches/", DEFAULT),
        ("bundles/", DEFAULT),
        ("project=shop/", SHOP),
        ("events/", None),
        ("project=Shop/", None),
        ("project=shop", None),
        ("projects/", None),
    ],
)
def test_the_folders_of_the_archive_tell_which_projects_have_something_to_compact(
    folder: str, project: Project | None
) -> None:
    assert keys.project_waiting_in(folder) == project
    for make in (keys.batch_object, lambda of, name: keys.bundle_object(of, 1, name)):
        for of in (DEFAULT, SHOP):
            assert keys.project_waiting_in(make(of, BATCH).partition("/")[0] + "/") == of

from collections.abc import Callable, Mapping

import pytest

from rollcall.core.limits import Limit
from rollcall.stack.keys import Tables
from rollcall.stack.settings import (
    AccessSettings,
    AccountSettings,
    ArchiveSettings,
    AskSettings,
    BadSetting,
    ConsumerSettings,
    DocsSettings,
    HealthSettings,
    ImportSettings,
    IngestSettings,
    PageSettings,
    PlanSettings,
    SegmentsSettings,
    StatsSettings,
    TopEventsSettings,
)

ENVIRONMENT = {
    "QUEUE_URL": "http://queue",
    "DEAD_LETTER_QUEUE_URL": "http://dead-letters",
    "REPORTING_TIMEZONE": "Europe/Kyiv",
    "FIRST_DAY": "2020-02-29",
    "NAMED_TYPES": "10000",
    "EVENTS_TABLE": "events",
    "STATS_TABLE": "stats",
    "USER_SHARDS": "16",
    "COUNTER_SHARDS": "4",
    "REMEMBERED_USER_DAYS": "100000",
    "UPLOAD_BUCKET": "uploads",
    "IMPORT_QUEUE_URL": "http://parts",
    "ACCESS_TABLE": "access",
    "SIGNING_KEY_PARAMETER": "/rollcall/signing-key",
    "KEY_RATE": "0.5",
    "KEY_BURST": "100",
    "LONG_REQUESTS_PER_KEY": "5",
    "CORS_ORIGINS": "https://app.example.com, http://localhost:3000",
    "DOCS": "true",
    "PAGE": "true",
    "UPLOAD_ORIGINS": "https://uploads.s3.eu-west-1.amazonaws.com https://uploads.s3.amazonaws.com",
    "FRAME_ANCESTORS": "https://wiki.example.com, http://localhost:3000",
    "OPEN_REGISTRATION": "false",
    "ADDRESS_REQUESTS_PER_MINUTE": "30",
    "ADDRESS_BURST": "20",
    "LOGINS_PER_MINUTE": "3",
    "LOGIN_BURST": "10",
    "ACCOUNT_LOGINS_PER_HOUR": "36",
    "ACCOUNT_LOGIN_BURST": "50",
    "SESSION_DAYS": "90",
    "ARCHIVE": "true",
    "ARCHIVE_BUCKET": "archive",
    "COMPACT_FUNCTION": "compact",
    "HOT_DAYS": "0",
    "SEGMENTS_FUNCTION": "segments",
    "MEMORY_MEGABYTES": "1769",
    "STORAGE_MEGABYTES": "2048",
    "IMPORTS_PER_MINUTE": "6",
    "IMPORT_BURST": "5",
    "MAX_UPLOAD_MEGABYTES": "10",
    "MAX_EXPANDED_MEGABYTES": "20",
    "INGEST_PREFIX": "/t9",
}
TABLES = Tables("events", "stats", 16, 4)
OF_TABLES = ("EVENTS_TABLE", "STATS_TABLE", "USER_SHARDS", "COUNTER_SHARDS")
OF_ARCHIVE = ("ARCHIVE_BUCKET", "STATS_TABLE", "MEMORY_MEGABYTES")

Read = Callable[[Mapping[str, str]], object]
NEEDED: list[tuple[Read, tuple[str, ...]]] = [
    (
        IngestSettings.read,
        (
            "QUEUE_URL",
            "REPORTING_TIMEZONE",
            "FIRST_DAY",
            "UPLOAD_BUCKET",
            "HOT_DAYS",
            "IMPORTS_PER_MINUTE",
            "IMPORT_BURST",
            "MAX_UPLOAD_MEGABYTES",
        ),
    ),
    (PlanSettings.read, ("IMPORT_QUEUE_URL", "REPORTING_TIMEZONE", "STATS_TABLE", "MAX_EXPANDED_MEGABYTES")),
    (ImportSettings.read, ("QUEUE_URL", "REPORTING_TIMEZONE", "FIRST_DAY", "STATS_TABLE", "MAX_EXPANDED_MEGABYTES")),
    (
        ConsumerSettings.read,
        (
            *OF_TABLES,
            "REPORTING_TIMEZONE",
            "DEAD_LETTER_QUEUE_URL",
            "REMEMBERED_USER_DAYS",
            "ARCHIVE",
            "ARCHIVE_BUCKET",
            "COMPACT_FUNCTION",
            "HOT_DAYS",
        ),
    ),
    (ArchiveSettings.read, OF_ARCHIVE),
    (SegmentsSettings.read, (*OF_ARCHIVE, "STORAGE_MEGABYTES")),
    (AskSettings.read, ("ARCHIVE", "SEGMENTS_FUNCTION")),
    (StatsSettings.read, (*OF_TABLES, "REPORTING_TIMEZONE")),
    (TopEventsSettings.read, ("NAMED_TYPES",)),
    (
        HealthSettings.read,
        (
            *OF_TABLES,
            "ACCESS_TABLE",
            "QUEUE_URL",
            "DEAD_LETTER_QUEUE_URL",
            "UPLOAD_BUCKET",
            "ARCHIVE",
            "ARCHIVE_BUCKET",
        ),
    ),
    (DocsSettings.read, ("DOCS",)),
    (PageSettings.read, ("PAGE",)),
    (AccessSettings.read, ("ACCESS_TABLE", "SIGNING_KEY_PARAMETER", "KEY_RATE", "KEY_BURST", "LONG_REQUESTS_PER_KEY")),
    (
        AccountSettings.read,
        (
            "OPEN_REGISTRATION",
            "ADDRESS_REQUESTS_PER_MINUTE",
            "ADDRESS_BURST",
            "LOGINS_PER_MINUTE",
            "LOGIN_BURST",
            "ACCOUNT_LOGINS_PER_HOUR",
            "ACCOUNT_LOGIN_BURST",
            "SESSION_DAYS",
        ),
    ),
]


def test_the_doors_read_their_settings() -> None:
    read = IngestSettings.read(ENVIRONMENT)
    assert (read.queue_url, read.calendar.name, read.upload_bucket) == ("http://queue", "Europe/Kyiv", "uploads")
    assert read.calendar.first_day == "2020-02-29"
    assert (read.import_limit, read.max_upload_bytes) == (Limit(0.1, 5), 10_000_000)
    assert read.prefix == "/t9"


def test_the_import_functions_read_their_settings() -> None:
    plan = PlanSettings.read(ENVIRONMENT)
    assert (plan.import_queue_url, plan.stats_table, plan.most_bytes) == ("http://parts", "stats", 20_000_000)
    assert plan.calendar.name == "Europe/Kyiv"
    read = ImportSettings.read(ENVIRONMENT)
    assert (read.queue_url, read.calendar.name, read.stats_table) == ("http://queue", "Europe/Kyiv", "stats")
    assert read.calendar.first_day == "2020-02-29"
    assert read.most_bytes == 20_000_000


def test_the_consumer_reads_its_settings() -> None:
    read = ConsumerSettings.read(ENVIRONMENT)
    assert read.tables == TABLES
    assert read.calendar.name == "Europe/Kyiv"
    assert read.dead_letter_queue_url == "http://dead-letters"
    assert read.remembered_user_days == 100_000


def test_the_consumer_archives_unless_told_otherwise() -> None:
    settings = ConsumerSettings.read(ENVIRONMENT)
    assert (settings.archive_bucket, settings.compact_function) == ("archive", "compact")
    settings = ConsumerSettings.read({**ENVIRONMENT, "ARCHIVE": "false", "ARCHIVE_BUCKET": "", "COMPACT_FUNCTION": ""})
    assert (settings.archive_bucket, settings.compact_function) == (None, None)


@pytest.mark.parametrize(("value", "days"), [("0", 0), ("40", 40), ("400", 400)])
def test_events_stay_for_ever_or_for_longer_than_a_batch_may_come_again(value: str, days: int) -> None:
    environment = {**ENVIRONMENT, "HOT_DAYS": value}
    assert ConsumerSettings.read(environment).hot_days == IngestSettings.read(environment).hot_days == days


@pytest.mark.parametrize("read", [ConsumerSettings.read, IngestSettings.read])
@pytest.mark.parametrize("value", ["1", "39"])
def test_a_window_in_which_a_batch_may_come_again_is_refused(read: Read, value: str) -> None:
    with pytest.raises(BadSetting, match=r"HOT_DAYS has to be 0 or at least 40"):
        read({**ENVIRONMENT, "HOT_DAYS": value})


def test_events_do_not_expire_where_they_are_not_archived() -> None:
    with pytest.raises(BadSetting, match="HOT_DAYS is 40 and ARCHIVE is false"):
        ConsumerSettings.read({**ENVIRONMENT, "HOT_DAYS": "40", "ARCHIVE": "false"})


def test_those_who_read_the_archive_read_their_settings() -> None:
    archive = ArchiveSettings("archive", "stats", 1769)
    assert ArchiveSettings.read(ENVIRONMENT) == archive
    assert SegmentsSettings.read(ENVIRONMENT) == SegmentsSettings(archive, 2048)


def test_segments_are_asked_of_nobody_where_there_is_no_archive() -> None:
    assert AskSettings.read(ENVIRONMENT).segments_function == "segments"
    assert AskSettings.read({"ARCHIVE": "false"}).segments_function is None


def test_the_readers_read_their_settings() -> None:
    read = StatsSettings.read(ENVIRONMENT)
    assert (read.tables, read.calendar.name) == (TABLES, "Europe/Kyiv")


def test_the_dependency_check_reads_its_settings() -> None:
    assert HealthSettings.read(ENVIRONMENT) == HealthSettings(
        TABLES, "access", "http://queue", "http://dead-letters", "uploads", "archive"
    )
    assert HealthSettings.read({**ENVIRONMENT, "ARCHIVE": "false", "ARCHIVE_BUCKET": ""}).archive_bucket is None


def test_the_gate_reads_its_settings() -> None:
    assert AccessSettings.read(ENVIRONMENT) == AccessSettings(
        "access",
        "/rollcall/signing-key",
        Limit(0.5, 100),
        5,
        ("https://app.example.com", "http://localhost:3000"),
    )


def test_registration_and_login_read_their_settings() -> None:
    assert AccountSettings.read(ENVIRONMENT) == AccountSettings(
        False, Limit(0.5, 20), Limit(0.05, 10), Limit(0.01, 50), 90
    )
    assert AccountSettings.read({**ENVIRONMENT, "OPEN_REGISTRATION": "true"}).open_registration


@pytest.mark.parametrize(("read", "name"), [(read, name) for read, names in NEEDED for name in names])
@pytest.mark.parametrize("absent", [True, False])
def test_a_setting_that_is_absent_or_empty_is_named(read: Read, name: str, absent: bool) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name}
    if not absent:
        environment[name] = ""
    with pytest.raises(BadSetting, match=rf"\b{name} is not set"):
        read(environment)


@pytest.mark.parametrize(("read", "names"), NEEDED)
def test_only_what_is_needed_has_to_be_set(read: Read, names: tuple[str, ...]) -> None:
    read({name: ENVIRONMENT[name] for name in names})


@pytest.mark.parametrize("read", [ConsumerSettings.read, StatsSettings.read, HealthSettings.read])
@pytest.mark.parametrize("name", ["USER_SHARDS", "COUNTER_SHARDS"])
@pytest.mark.parametrize("value", ["0", "-1", "+1", "1.5", "1e3", "four", " 4", "0x4", "²"])
def test_a_number_of_shards_that_is_none_is_named_with_its_value(read: Read, name: str, value: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read({**ENVIRONMENT, name: value})
    assert str(caught.value) == f"{name} has to be a whole number of at least 1, not {value!r}"


def test_one_shard_is_enough() -> None:
    read = StatsSettings.read({**ENVIRONMENT, "USER_SHARDS": "1", "COUNTER_SHARDS": "1"})
    assert read.tables == Tables("events", "stats", 1, 1)


def test_a_consumer_may_remember_nothing() -> None:
    assert ConsumerSettings.read({**ENVIRONMENT, "REMEMBERED_USER_DAYS": "0"}).remembered_user_days == 0


@pytest.mark.parametrize("value", ["-1", "many", "0.5"])
def test_a_bad_number_of_remembered_days_is_named(value: str) -> None:
    with pytest.raises(BadSetting, match="REMEMBERED_USER_DAYS"):
        ConsumerSettings.read({**ENVIRONMENT, "REMEMBERED_USER_DAYS": value})


@pytest.mark.parametrize("read", [IngestSettings.read, ConsumerSettings.read, StatsSettings.read])
@pytest.mark.parametrize("value", ["Europe/Nowhere", "+03:00", "../../etc/passwd", "Europe"])
def test_a_timezone_that_does_not_exist_is_named(read: Read, value: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read({**ENVIRONMENT, "REPORTING_TIMEZONE": value})
    assert str(caught.value) == f"REPORTING_TIMEZONE: {value!r} is not an IANA timezone"


@pytest.mark.parametrize("read", [IngestSettings.read, ImportSettings.read])
@pytest.mark.parametrize("value", ["2025-02-29", "1970-1-1", "yesterday", "0000-01-01", "2025-01-01T00:00:00Z"])
def test_a_first_day_that_is_none_is_named(read: Read, value: str) -> None:
    with pytest.raises(BadSetting, match=r"^FIRST_DAY "):
        read({**ENVIRONMENT, "FIRST_DAY": value})


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e3", "fast", "0.0", "1/2"])
def test_a_rate_that_is_none_is_named_with_its_value(value: str) -> None:
    with pytest.raises(BadSetting) as caught:
        AccessSettings.read({**ENVIRONMENT, "KEY_RATE": value})
    assert str(caught.value) == f"KEY_RATE has to be a number above 0, not {value!r}"


@pytest.mark.parametrize("value", ["True", "yes", "1"])
def test_a_choice_that_is_none_is_named_with_its_value(value: str) -> None:
    with pytest.raises(BadSetting, match=f"OPEN_REGISTRATION has to be true or false, not '{value}'"):
        AccountSettings.read({**ENVIRONMENT, "OPEN_REGISTRATION": value})


@pytest.mark.parametrize(("value", "origins"), [("", ()), (" , ", ()), ("*", ("*",))])
def test_web_origins_may_be_none_or_all(value: str, origins: tuple[str, ...]) -> None:
    assert AccessSettings.read({**ENVIRONMENT, "CORS_ORIGINS": value}).cors_origins == origins


@pytest.mark.parametrize(
    "value", ["app.example.com", "https://app.example.com/", "null", "https://*", "*, https://app.example.com"]
)
def test_a_web_origin_that_is_none_is_named(value: str) -> None:
    with pytest.raises(BadSetting, match="CORS_ORIGINS"):
        AccessSettings.read({**ENVIRONMENT, "CORS_ORIGINS": value})


@pytest.mark.parametrize("value", ["", "/t9", "/0", "/collect-a_b", "/" + "x" * 32])
def test_a_prefix_is_one_segment_of_a_path_or_nothing(value: str) -> None:
    assert IngestSettings.read({**ENVIRONMENT, "INGEST_PREFIX": value}).prefix == value


@pytest.mark.parametrize(
    "value", ["t9", "/", "/t9/", "/a/b", "/T9", "/-a", "/_a", "/t.9", "/t9\n", "/t 9", "/é", "/" + "x" * 33, "//t9"]
)
def test_a_prefix_that_is_none_is_named_with_its_value(value: str) -> None:
    with pytest.raises(BadSetting, match=r"^INGEST_PREFIX has to be ") as caught:
        IngestSettings.read({**ENVIRONMENT, "INGEST_PREFIX": value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", ["/v1", "/events", "/stats", "/i", "/batch", "/2"])
def test_a_prefix_that_paths_of_the_api_begin_with_is_named(value: str) -> None:
    with pytest.raises(BadSetting, match=f"^INGEST_PREFIX is {value}, which paths of the API begin with"):
        IngestSettings.read({**ENVIRONMENT, "INGEST_PREFIX": value})

import json
import socket
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from unittest.mock import MagicMock

import httpx2
import pytest

from rollcall.access.api_keys import SCOPES
from rollcall.core.days import Calendar, days_between
from rollcall.core.events import parse_event
from scripts.local import deploy
from scripts.local import stack as local
from scripts.local.ministack import free_port
from scripts.local.stack import SAMPLE_DAYS, CannotStart, Filled, LocalSettings
from scripts.operate import stacks
from scripts.terminal import SafeConsole

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("complete", [True, False])
def test_what_a_stack_was_filled_with_is_known_at_the_next_start(tmp_path: Path, complete: bool) -> None:
    filled = Filled("own.csv", date(2025, 8, 1), date(2025, 8, 31), complete)
    filled.write(tmp_path / "note")
    assert Filled.read(tmp_path / "note") == filled


def test_a_note_without_a_first_day_is_of_the_sample(tmp_path: Path) -> None:
    (tmp_path / "note").write_text('{"last_day": "2025-08-31", "complete": true}')
    filled = Filled.read(tmp_path / "note")
    assert filled
    assert (filled.what, (filled.last_day - filled.first_day).days + 1) == ("sample", SAMPLE_DAYS)


@pytest.mark.parametrize(
    "text", ["", '{"last_day', "[]", "{}", '{"last_day": "2025-08-31"}', '{"last_day": "a", "complete": true}']
)
def test_a_note_that_cannot_be_read_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "note").write_text(text)
    assert Filled.read(tmp_path / "note") is None
    assert Filled.read(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("scopes", "project", "status", "kept"),
    [
        (SCOPES, "*", 200, True),
        (SCOPES, "default", 200, False),
        (SCOPES[:-1], "*", 200, False),
        ((), "*", 200, False),
        (SCOPES, "*", 401, False),
    ],
)
def test_a_key_that_lacks_a_scope_or_a_project_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scopes: tuple[str, ...], project: str, status: int, kept: bool
) -> None:
    text, note = f"rc_{'1' * 16}_{'2' * 48}", tmp_path / "key"
    note.write_text(text)
    ministack = MagicMock()
    ministack.api_url = "http://127.0.0.1:1"
    keys = MagicMock()
    keys.return_value.create.return_value = (None, "another")
    monkeypatch.setattr(local, "ApiKeys", keys)
    stack = local.LocalStack(ministack, MagicMock(), SafeConsole(), Calendar("UTC"))
    listed = [
        {"key_id": "0" * 16, "scopes": list(SCOPES), "project": "*"},
        {"key_id": "1" * 16, "scopes": list(scopes), "project": project},
    ]
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, json={"keys": listed}))
    stack._http = httpx2.Client(base_url="http://127.0.0.1:1", transport=transport)

    assert stack.unlock(note) == note.read_text() == (text if kept else "another")


def noted(state: Path, text: str) -> dict[str, str]:
    """The environment of a command that names the folder alone, in which a start has left this note."""
    (state / "up.json").write_text(text)
    return {"ROLLCALL_STATE": str(state)}


def test_the_port_of_the_local_stack_is_known_from_its_state_folder(tmp_path: Path) -> None:
    environment = noted(tmp_path, '{"pid": 1, "port": 4640}')
    assert stacks.port_of(environment) == LocalSettings.read(environment).port == 4640
    assert stacks.port_of(environment | {"ROLLCALL_PORT": ""}) == 4640
    assert stacks.port_of(environment | {"ROLLCALL_PORT": "4641"}) == 4641
    assert stacks.port_of({"ROLLCALL_STATE": str(tmp_path / "another")}) == 4566


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"port": "4640"}', '{"port": 0}', '{"port": 65536}', "\xff"])
def test_a_note_without_a_port_is_passed_over(tmp_path: Path, text: str) -> None:
    assert stacks.port_of(noted(tmp_path, text)) == 4566


def test_a_command_with_the_state_folder_only_asks_the_noted_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("ROLLCALL_STATE", noted(tmp_path, json.dumps({"port": port}))["ROLLCALL_STATE"])
    monkeypatch.delenv("ROLLCALL_PORT", raising=False)
    with pytest.raises(stacks.NoStack, match=f"no local stack answers on port {port}; start it with rollcall up"):
        stacks.find(None)


def test_a_wrong_port_is_told_beside_the_one_that_the_stack_of_the_folder_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        right, wrong = listening.getsockname()[1], free_port()
        monkeypatch.setenv("ROLLCALL_STATE", noted(tmp_path, json.dumps({"port": right}))["ROLLCALL_STATE"])
        monkeypatch.setenv("ROLLCALL_PORT", str(wrong))
        with pytest.raises(stacks.NoStack, match=f"port {wrong}, which ROLLCALL_PORT names.* is on port {right}"):
            stacks.find(None)


def test_a_port_that_is_refused_is_not_noted_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = noted(tmp_path, '{"pid": 1, "port": 4640}')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(CannotStart, match=f"port {port} is taken"):
            local.up(LocalSettings.read(environment | {"ROLLCALL_PORT": port}), SafeConsole())
    assert stacks.port_of(environment) == 4640


def test_the_timezone_of_the_local_stack_is_a_setting_or_an_option(tmp_path: Path) -> None:
    environment = {"ROLLCALL_STATE": str(tmp_path)}
    apia = environment | {"ROLLCALL_TIMEZONE": "Pacific/Apia"}
    assert LocalSettings.read(environment | {"ROLLCALL_TIMEZONE": ""}).timezone is None
    assert LocalSettings.read(apia).timezone == "Pacific/Apia"
    assert LocalSettings.read(apia, timezone="Europe/Kyiv").timezone == "Europe/Kyiv"


def test_the_pages_that_may_call_the_local_stack_are_a_setting_or_options(tmp_path: Path) -> None:
    environment = {"ROLLCALL_STATE": str(tmp_path)}
    named = environment | {"ROLLCALL_CORS_ORIGINS": "https://app.example, http://localhost:3000"}
    assert LocalSettings.read(environment).cors_origins == ()
    assert LocalSettings.read(named).cors_origins == ("https://app.example", "http://localhost:3000")
    given = ["http://localhost:5173", "https://b.example"]
    assert LocalSettings.read(named, cors_origins=given).cors_origins == tuple(given)
    assert LocalSettings.read(environment, cors_origins=["*"]).cors_origins == ("*",)


def test_the_prefix_of_the_local_stack_is_a_setting_or_an_option(tmp_path: Path) -> None:
    environment = {"ROLLCALL_STATE": str(tmp_path)}
    named = environment | {"ROLLCALL_INGEST_PREFIX": "/t9"}
    assert LocalSettings.read(environment).ingest_prefix == ""
    assert LocalSettings.read(named).ingest_prefix == "/t9"
    assert LocalSettings.read(named, ingest_prefix="/x").ingest_prefix == "/x"
    assert LocalSettings.read(named, ingest_prefix="").ingest_prefix == ""


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "null", "https://*.example"])
def test_what_is_no_origin_is_refused_by_the_name_of_the_setting(tmp_path: Path, origin: str) -> None:
    environment = {"ROLLCALL_STATE": str(tmp_path)}
    with pytest.raises(CannotStart, match=r"^ROLLCALL_CORS_ORIGINS has to list origins such as "):
        LocalSettings.read(environment | {"ROLLCALL_CORS_ORIGINS": origin})
    with pytest.raises(CannotStart, match=r"^--cors-origin has to list origins such as "):
        LocalSettings.read(environment, cors_origins=["https://app.example", origin])


@pytest.mark.parametrize("prefix", ["t9", "/t9/", "/v1", "/events"])
def test_what_cannot_be_a_prefix_is_refused_by_the_name_of_the_setting(tmp_path: Path, prefix: str) -> None:
    environment = {"ROLLCALL_STATE": str(tmp_path)}
    with pytest.raises(CannotStart, match=r"^ROLLCALL_INGEST_PREFIX (has to be|is) "):
        LocalSettings.read(environment | {"ROLLCALL_INGEST_PREFIX": prefix})
    with pytest.raises(CannotStart, match=r"^--ingest-prefix (has to be|is) "):
        LocalSettings.read(environment, ingest_prefix=prefix)


ONE_SHARD = {"UserShards": "1", "CounterShards": "1"}


def test_a_local_stack_is_deployed_with_its_origins_and_its_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed: list[dict[str, str]] = []
    monkeypatch.setattr(deploy, "deploy", lambda _client, _name, parameters: deployed.append(parameters))
    monkeypatch.setattr(deploy, "exists", lambda _client, _name: False)
    monkeypatch.setattr(stacks, "described", lambda *_: None)
    environment = {"ROLLCALL_STATE": str(tmp_path), "ROLLCALL_INGEST_PREFIX": "/t9"}

    local._deploy(MagicMock(), LocalSettings.read(environment, cors_origins=["https://a.example", "https://b.example"]))
    local._deploy(MagicMock(), LocalSettings.read({"ROLLCALL_STATE": str(tmp_path)}))

    # What an earlier start was told is no longer so.
    assert deployed == [
        {"CorsOrigins": "https://a.example,https://b.example", "IngestPrefix": "/t9", **ONE_SHARD},
        {"CorsOrigins": "", "IngestPrefix": "", **ONE_SHARD},
    ]


def test_a_local_stack_keeps_the_shards_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began_with = {"UserShards": "4", "CounterShards": "8"}
    earlier = stacks.Stack("rollcall", MagicMock(), {}, {"ReportingTimezone": "UTC", **began_with})
    deployed: list[dict[str, str]] = []
    monkeypatch.setattr(deploy, "deploy", lambda _client, _name, parameters: deployed.append(parameters))
    monkeypatch.setattr(deploy, "exists", lambda _client, _name: True)
    monkeypatch.setattr(stacks, "described", lambda *_: earlier)

    local._deploy(MagicMock(), LocalSettings.read({"ROLLCALL_STATE": str(tmp_path)}))

    assert deployed[0].items() >= began_with.items()


@pytest.mark.parametrize("name", ["Pacific/Nowhere", "Europe", "UTC+3", "../UTC", "/etc/localtime"])
def test_what_is_no_timezone_is_refused_by_the_name_of_the_setting(tmp_path: Path, name: str) -> None:
    environment = {"ROLLCALL_STATE": str(tmp_path), "ROLLCALL_TIMEZONE": name}
    with pytest.raises(CannotStart, match=r"^ROLLCALL_TIMEZONE: .* is not an IANA timezone$"):
        LocalSettings.read(environment)
    with pytest.raises(CannotStart, match=r"^--timezone: .* is not an IANA timezone$"):
        LocalSettings.read({"ROLLCALL_STATE": str(tmp_path)}, timezone=name)


@pytest.mark.parametrize(
    ("wanted", "stored", "deployed", "taken"),
    [
        (None, None, "UTC", "UTC"),
        (None, "Pacific/Apia", "Pacific/Apia", "Pacific/Apia"),
        ("Pacific/Apia", "Pacific/Apia", "Pacific/Apia", "Pacific/Apia"),
        ("Pacific/Apia", None, "UTC", "Pacific/Apia"),
        ("Pacific/Apia", "UTC", "UTC", None),
        ("UTC", "Pacific/Apia", "Pacific/Apia", None),
    ],
)
def test_a_timezone_that_other_days_were_counted_by_is_refused_and_without_one_that_of_the_data_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str | None, stored: str | None, deployed: str, taken: str
) -> None:
    earlier = stacks.Stack("rollcall", MagicMock(), {"StatsTableName": "stats"}, {"ReportingTimezone": deployed})
    monkeypatch.setattr(stacks, "described", lambda *_: earlier)
    ministack = MagicMock()
    item = {"Item": {"REPORTING_TIMEZONE": {"S": stored}}} if stored else {}
    ministack.client.return_value.get_item.return_value = item
    ministack.client.return_value.describe_stacks.return_value = {"Stacks": [{"StackStatus": "CREATE_COMPLETE"}]}
    settings = LocalSettings(4566, tmp_path, sample=True, seed=None, timezone=wanted)
    if taken:
        assert local._timezone(ministack, settings) == taken
    else:
        with pytest.raises(CannotStart, match=f"to be {wanted}, but .*counted by the days of {stored}, which stays"):
            local._timezone(ministack, settings)


def test_the_sample_ends_with_the_yesterday_of_the_stack_and_the_hints_are_of_its_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Noon(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Noon":
            return cls.fromisoformat(NOON.isoformat()).astimezone(tz)

    monkeypatch.setattr(local, "datetime", Noon)
    ministack = MagicMock()
    ministack.api_url = ministack.endpoint = "http://127.0.0.1:1"
    ministack.client.return_value.get_queue_attributes.return_value = {
        "Attributes": {"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0"}
    }
    calendar = Calendar("Pacific/Apia")
    days: set[str] = set()
    stack = local.LocalStack(ministack, {"UploadBucketName": "b", "BatchQueueUrl": "q"}, SafeConsole(), calendar)

    def take(request: httpx2.Request) -> httpx2.Response:
        days.update(calendar.day_of(parse_event(event, NOON).occurred_at) for event in json.loads(request.content))
        return httpx2.Response(202)

    stack._http = httpx2.Client(base_url=ministack.api_url, transport=httpx2.MockTransport(take))
    filled = stack.fill(tmp_path / "note", None)
    assert (filled.first_day, filled.last_day) == (date(2025, 12, 3), date(2026, 1, 1))
    assert days == set(days_between("2025-12-03", "2026-01-01"))
    stack.show_hints("rc_key", "http://127.0.0.1:1/v1/#code=c")
    assert "from=2026-01-02&to=2026-01-02" in capsys.readouterr().out

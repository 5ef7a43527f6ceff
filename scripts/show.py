"""Tables for people: the API's answers and the results of commands."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.text import Text

from rollcall.access.api_keys import ApiKey
from rollcall.access.directory import KnownAccount, Session
from rollcall.intake.intake import CONFLICT
from rollcall.stack.projects import Record
from scripts.operate.anonymous import Ceiling
from scripts.operate.audit import Drift
from scripts.operate.cost import Estimate, Part
from scripts.operate.dlq import Failure, Summary
from scripts.operate.send_file import Reject, Report, Survey
from scripts.operate.stored_events import Stored
from scripts.terminal import SafeTable

BAR_WIDTH = 30
SHOWN_CHARACTERS = 100
SHOWN_VALUES = 5
# Columns of a table of retention that 80 characters have room for.
SHOWN_PERIODS = 11


def daily_actives(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /stats/dau."""
    table = _table(f"Daily active users{_whose(answer)}", "date", "dau")
    most = max((day["dau"] for day in answer["data"]), default=0)
    for day in answer["data"]:
        if day.get("no_day"):
            table.add_row(day["date"], "", "no day: clocks skipped it")
        else:
            table.add_row(day["date"], f"{day['dau']:,}", _so_far(day, _bar(day["dau"], most)))
    return table


def actives(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /stats/actives."""
    rolling, period = answer.get("rolling"), answer["period"]
    title = f"Active users of {rolling} days" if rolling else f"Active users by {period}"
    table = _table(f"{title}{_whose(answer)}", "up to" if rolling else period, "users")
    most = max((each["active_users"] for each in answer["data"]), default=0)
    for each in answer["data"]:
        shown = each["to"] if rolling or period == "day" else f"{each['from']} to {each['to']}"
        table.add_row(shown, f"{each['active_users']:,}", _so_far(each, _bar(each["active_users"], most)))
    return table


def lifecycle(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /stats/lifecycle."""
    table = SafeTable(
        title=f"Users by {answer['period']}{_whose(answer)}", title_style="bold", box=None, pad_edge=False, min_width=64
    )
    table.add_column(answer["period"])
    columns = ("previous", "new", "resurrected", "gone", "active_users")
    for name in ("before", "+ new", "+ resurrected", "- gone", "= users"):
        table.add_column(name, justify="right")
    table.add_column("")
    for each in answer["data"]:
        shown = each["to"] if answer["period"] == "day" else f"{each['from']} to {each['to']}"
        table.add_row(shown, *(f"{each[name]:,}" for name in columns), _so_far(each, ""))
    return table


def stickiness(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /stats/stickiness."""
    average = "" if answer["average"] is None else f", {answer['average']:.2f} % on average"
    table = _table(f"Daily ÷ monthly active users{average}{_whose(answer)}", "date", "dau ÷ mau")
    for day in answer["data"]:
        percent = day["stickiness"]
        shown = "" if percent is None else f"{percent:6.2f} %  {_bar(percent, 100)}"
        table.add_row(day["date"], f"{day['dau']:,} ÷ {day['mau']:,}", _so_far(day, shown))
    return table


def _so_far(period: dict[str, Any], shown: str) -> str:
    return shown if period.get("complete", True) else f"{shown} so far".strip()


def top_events(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /stats/top-events."""
    whose = _whose(answer) if "project" in answer else ""
    table = _table(f"Top events{whose}, {answer['from']} to {answer['to']}", "event type", "events")
    most = max((row["count"] for row in answer["data"]), default=0)
    for row in answer["data"]:
        table.add_row(row["event_type"], f"{row['count']:,}", _bar(row["count"], most))
    return table


def event_types(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /meta/event-types."""
    table = SafeTable(
        title=f"Event types, {answer['from']} to {answer['to']}{_whose(answer)}",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("event type")
    table.add_column("events", justify="right")
    table.add_column("first seen")
    table.add_column("last seen")
    for row in answer["data"]:
        table.add_row(row["event_type"], f"{row['count']:,}", row["first_seen"] or "", row["last_seen"] or "")
    return table


def properties(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /meta/properties."""
    of_type = f" of {answer['event_type']}" if answer["event_type"] else ""
    table = SafeTable(
        title=f"Properties{of_type}, {answer['from']} to {answer['to']}{_whose(answer)}",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("property")
    table.add_column("events", justify="right")
    for name in ("kinds", "seen", "values"):
        table.add_column(name)
    for row in answer["data"]:
        listed = row["values"][:SHOWN_VALUES]
        values = ", ".join(f"{_shown(value['value'], value['cut'])} ({value['count']:,})" for value in listed)
        table.add_row(
            _shown(row["property"], row["cut"]),
            f"{row['count']:,}",
            ", ".join(row["kinds"]),
            f"{row['first_seen']} to {row['last_seen']}",
            values + (", …" if len(row["values"]) > len(listed) else ""),
        )
    if answer["others"]:
        table.caption = f"{answer['others']:,} more properties are not listed."
    return table


def _shown(text: str, cut: bool) -> str:
    return f"{text}…" if cut else text


def retention(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /stats/retention or /stats/cohort."""
    period = answer["period"]
    title = f"Retention of the {answer['cohort_size']:,} {answer['cohort']} users of {answer['cohort_date']}"
    table = _table(title, period, "came back")
    for window in answer["retention"]:
        rate = f"{window['retention_rate']:6.2f} %" + ("" if window["complete"] else " so far")
        table.add_row(
            f"{window[period]} ({window['date']})",
            f"{window['retained_users']:,}",
            Text(rate).append("  ").append(_bar(window["retention_rate"], 100), _heat(window["retention_rate"])),
        )
    return table


def retention_table(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /stats/retention/table: the periods after a cohort's own, each with its percentage."""
    period, cohorts = answer["period"], answer["cohorts"]
    back = "came back" if answer["on"] == "exactly" else "came back then or later"
    table = SafeTable(
        title=f"Percent of the {answer['cohort']} users of each {period} who {back}{_whose(answer)}",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column(f"{period} from" if period != "day" else period)
    table.add_column("users", justify="right")
    for number in range(min(SHOWN_PERIODS, len(cohorts))):
        table.add_column(str(number), justify="right", min_width=4)
    notes = []
    if not all(cell["complete"] for each in cohorts for cell in each["retained"][:SHOWN_PERIODS]):
        notes.append("… is so far.")
    if len(cohorts) > SHOWN_PERIODS:
        notes.append(f"There are {len(cohorts) - SHOWN_PERIODS} more columns: --csv or --json.")
    table.caption = " ".join(notes) or None
    for each in cohorts:
        cells = [
            Text(f"{cell['retention_rate']:.0f}{'' if cell['complete'] else '…'}", _heat(cell["retention_rate"]))
            for cell in each["retained"][:SHOWN_PERIODS]
        ]
        table.add_row(each["from"], f"{each['cohort_size']:,}", *cells)
    return table


def _whose(answer: dict[str, Any]) -> str:
    """Whose days an answer is about. One about all projects has no timezone: each counts by its own."""
    project = answer.get("project")
    of = "" if project is None else " of all projects" if project == "*" else f" of {project}"
    return of + (f" ({answer['timezone']})" if "timezone" in answer else "")


def _table(title: str, first: str, second: str) -> SafeTable:
    table = SafeTable(title=title, title_style="bold", box=None, pad_edge=False, min_width=64)
    table.add_column(first)
    table.add_column(second, justify="right")
    table.add_column("")
    return table


def _bar(value: float, most: float) -> str:
    return "█" * round(BAR_WIDTH * value / most) if most else ""


def _heat(percent: float) -> str:
    """A colour, from blue for 0 percent to red for 100 percent."""
    share = min(1.0, percent / 100)
    return f"rgb({round(255 * share)},{round(90 + 60 * share)},{round(220 * (1 - share))})"


def api_keys(keys: Sequence[ApiKey]) -> SafeTable:
    """The table of `rollcall keys list`."""
    table = SafeTable(
        "id", "name", "scopes", "project", "source", "limit", "requests", "state", box=None, pad_edge=False
    )
    for key in keys:
        limit = f"{key.limit.rate:g}/s, {key.limit.burst} at once" if key.limit else "the stack's"
        state = (
            f"revoked {key.revoked_at}" if key.revoked_at else f"until {key.expires_at}" if key.expires_at else "good"
        )
        requests = f"{sum(key.requests.values()):,}"
        table.add_row(key.key_id, key.name, " ".join(key.scopes), str(key.reach), key.source, limit, requests, state)
    return table


def ledger(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /keys/{key_id}/ledger: the days with events, and their sum."""
    outcomes = ("received", "accepted", "counted", "duplicates", "conflicts", "refused")
    table = SafeTable(title=f"Ledger of the key {answer['key_id']} ({answer['timezone']})", box=None, pad_edge=False)
    table.add_column("date")
    for outcome in outcomes:
        table.add_column(outcome, justify="right")
    table.add_column("rejected")
    sums: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for day in answer["data"]:
        if not day["received"]:
            continue
        sums.update({outcome: day[outcome] for outcome in outcomes})
        codes.update(day["rejected"])
        table.add_row(day["date"], *(f"{day[outcome]:,}" for outcome in outcomes), _codes(day["rejected"]))
    table.add_row("all days", *(f"{sums[outcome]:,}" for outcome in outcomes), _codes(codes))
    return table


def _codes(rejected: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {code}" for code, count in sorted(rejected.items()))


def rejected_events(answer: dict[str, Any]) -> SafeTable:
    """The answer of GET /rejects."""
    table = SafeTable("received", "dialect", "code", "message", "id", "event", box=None, pad_edge=False)
    for row in answer["data"]:
        event = row["item"] if len(row["item"]) <= SHOWN_CHARACTERS else f"{row['item'][:SHOWN_CHARACTERS]}…"
        table.add_row(row["received_at"], row["dialect"], row["code"], row["message"], row["event_id"] or "", event)
    if answer["next"]:
        table.caption = "There are more: narrow the days, raise --limit, or ask GET /rejects with after."
    return table


def projects(known: Sequence[Record]) -> SafeTable:
    """The table of `rollcall projects list`."""
    table = SafeTable("name", "display name", "timezone", "made", "state", box=None, pad_edge=False)
    for each in known:
        state = f"archived {each.archived_at}" if each.archived_at else "takes in events"
        table.add_row(each.project.name, each.display_name, each.timezone, each.created_at or "always there", state)
    return table


def accounts(known: Sequence[KnownAccount]) -> SafeTable:
    """The table of `rollcall accounts list`."""
    table = SafeTable("email", "scopes", "project", "state", box=None, pad_edge=False)
    for each in known:
        table.add_row(each.email, " ".join(each.scopes), str(each.reach), _state(each))
    return table


def account(known: KnownAccount) -> str:
    """The first line of `rollcall accounts show`."""
    return f"{known.email}  {known.account_id}  {' '.join(known.scopes)}  project {known.reach}  {_state(known)}"


def _state(known: KnownAccount) -> str:
    return f"disabled {known.disabled_at}" if known.disabled_at else "may log in"


def sessions(found: Sequence[Session]) -> SafeTable:
    """The sessions of `rollcall accounts show`."""
    table = SafeTable("session", "began", "refreshed", "good until", "at most until", box=None, pad_edge=False)
    for each in found:
        table.add_row(
            each.session_id, each.began_at or "", each.refreshed_at or "", each.expires_at, each.ends_at or ""
        )
    return table


def import_report(report: Report) -> SafeTable:
    """The table of `rollcall import`."""
    outcomes = [
        ("  inserted", report.inserted),
        ("  duplicate", report.duplicates),
        ("  conflict", report.conflicts),
        # Rare, so it is left out if it is 0.
        *([("  never storable", report.refused)] if report.refused else []),
    ]
    return _figures(
        [
            ("rows", report.rows),
            ("accepted", report.accepted),
            *(outcomes if report.added_up else []),
            ("rejected", report.rejected),
        ]
    )


def survey(found: Survey) -> SafeTable:
    """The table of `rollcall import --dry-run`."""
    table = _figures(
        [
            ("rows", found.rows),
            ("good", found.good),
            ("  duplicate in the file", found.duplicates),
            *([("  stored already", found.stored[Stored.SAME])] if found.asked else []),
            ("conflict", found.all_conflicts),
            ("  conflict in the file", found.conflicts),
            *([("  id taken by a stored event", found.stored[Stored.OTHER])] if found.asked else []),
            ("bad", found.bad.total()),
            *((f"  {code}", count) for code, count in sorted(found.bad.items())),
            ("users", found.users),
            (f"days ({found.timezone})", len(found.days)),
        ]
    )
    if found.days:
        table.add_row("  from", min(found.days))
        table.add_row("  to", max(found.days))
    return table


def rejects(rejected: Sequence[Reject], more: int) -> SafeTable:
    """Rejected rows and conflicts with their lines, and the number `more` of rows that are not shown."""
    title = "Rows that do not count" if any(each.code == CONFLICT for each in rejected) else "Rejected rows"
    table = SafeTable("line", "code", "message", title=title, box=None, pad_edge=False)
    for reject in rejected:
        table.add_row(str(reject.line or ""), reject.code, reject.message)
    if more:
        table.add_row("...", "", f"and {more:,} more")
    return table


def failures(found: Sequence[Summary]) -> SafeTable:
    """The table of `rollcall dlq list`."""
    table = SafeTable("id", "queue", "since", "content", "reason", box=None, pad_edge=False)
    for each in found:
        table.add_row(each.message_id, each.queue, each.sent_at, each.content, each.reason)
    return table


def failure(each: Failure) -> SafeTable:
    """The table of `rollcall dlq show`, without the events."""
    table = _pairs()
    for name, value in (
        ("id", each.message_id),
        ("queue", each.queue),
        ("since", each.sent_at),
        ("reason", each.reason),
        ("correlation id", each.correlation_id),
        ("batch", each.batch and each.batch.batch_id),
        ("source", each.batch and each.batch.source),
        ("received at", each.batch and each.batch.received_at),
        ("events", each.batch and f"{len(each.batch.events):,}"),
        ("files", ", ".join(each.files)),
    ):
        if value:
            table.add_row(name, value)
    return table


def failed_events(each: Failure) -> SafeTable:
    """The events of a dead letter, without user ids and properties, which may be personal data."""
    table = SafeTable("event id", "occurred at", "event type", box=None, pad_edge=False)
    for event in each.batch.events if each.batch else ():
        table.add_row(event.event_id, event.occurred_at, event.event_type)
    return table


def status(found: dict[str, Any]) -> SafeTable:
    """The table of `rollcall status`."""
    table = _pairs()
    table.add_row("API", found["api"])
    table.add_row("health", found["health"])
    table.add_row("queue", f"{found['waiting']:,} batches waiting, {found['working']:,} being counted")
    table.add_row("dead letters", f"{found['dead_letters']:,}")
    table.add_row("failed imports", f"{found['failed_imports']:,}")
    events = found["events"]
    if events is None:
        table.add_row("events", "told to a key with the scope read: --key or ROLLCALL_KEY")
    else:
        table.add_row("events", f"{sum(events.values()):,}")
        for source, count in events.items():
            table.add_row(f"  from {source}", f"{count:,}")
    return table


def drifts(found: Sequence[Drift]) -> SafeTable:
    """The table of `rollcall audit`."""
    table = SafeTable("what", "day", "counted", "stored", title="Drift", box=None, pad_edge=False)
    for drift in found:
        table.add_row(drift.what, drift.day, str(drift.counted), str(drift.stored))
    return table


def rows(columns: Sequence[str], found: Sequence[Sequence[object]]) -> SafeTable:
    """The answer to a query, with numbers aligned to the right."""
    table = SafeTable(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        numeric = bool(found) and all(isinstance(row[number], int | float) for row in found)
        table.add_column(column, justify="right" if numeric else "left")
    for row in found:
        table.add_row(*("" if value is None else str(value) for value in row))
    return table


def costs(found: Estimate, title: str = "A month on AWS") -> SafeTable:
    """The table of `rollcall cost`."""
    table = SafeTable(title=title, title_style="bold", box=None, pad_edge=False)
    for name in ("service", "what", "for"):
        table.add_column(name)
    table.add_column("quantity", justify="right")
    table.add_column("unit")
    table.add_column("$ a month", justify="right")
    if found.events:
        table.add_column("$ a million events", justify="right")
    for line in found.lines:
        if line.quantity or line.service == "S3":
            table.add_row(
                line.service,
                line.what,
                line.part.value,
                f"{line.quantity:,.0f}" if line.quantity >= 100 else f"{line.quantity:,.2f}",
                line.price.unit,
                f"{line.dollars:,.2f}",
                *([f"{line.dollars / found.events * 1_000_000:,.4f}"] if found.events else []),
            )
    return table


def costs_by_batch_size(by_size: Mapping[int, Estimate]) -> SafeTable:
    """The table of `rollcall cost --table`."""
    title = "Dollars to take in a million events, one new user-day for each 10"
    table = SafeTable(title=title, title_style="bold", box=None, pad_edge=False)
    services = list(next(iter(by_size.values())).services(Part.INTAKE))
    services = [
        name for name in services if any(found.dollars(Part.INTAKE, service=name) for found in by_size.values())
    ]
    for name in ("events in a request", *services, "all", "keeping them, a month"):
        table.add_column(name, justify="right")
    for size, found in by_size.items():
        table.add_row(
            f"{size:,}",
            *(f"{found.per_million(Part.INTAKE, service=name):,.3f}" for name in services),
            f"{found.per_million(Part.INTAKE):,.3f}",
            f"{found.per_million(Part.STORAGE):,.3f}",
        )
    return table


def ceilings(found: Sequence[Ceiling]) -> SafeTable:
    """The table of `rollcall cost --anonymous`."""
    title = "The most that requests without a good credential cost, in dollars"
    table = SafeTable(title=title, title_style="bold", box=None, pad_edge=False)
    table.add_column("request", no_wrap=True)
    services = list(found[0].dollars)
    for name in ("bytes", *services, "a million", "a second", "a day"):
        table.add_column(name, justify="right")
    for each in found:
        table.add_row(
            each.kind.what,
            f"{each.kind.answer_bytes:,}",
            *(f"{each.dollars[name]:,.2f}" for name in services),
            f"{each.a_million:,.2f}",
            f"{each.rate:,}",
            f"{each.a_day:,.2f}",
        )
    return table


def _pairs() -> SafeTable:
    table = SafeTable(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _figures(figures: Iterable[tuple[str, int]]) -> SafeTable:
    table = SafeTable(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in figures:
        table.add_row(name, f"{value:,}")
    return table

"""The views of the page, as people use them: what they show is what the API answers."""

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from rollcall.access.reach import ALL, Reach
from rollcall.core.spreadsheets import escape_formula
from scripts.local.sample import generate
from tests.e2e.browser.conftest import Open
from tests.e2e.conftest import DeployedStack

pytestmark = [
    pytest.mark.xdist_group("stack"),
    pytest.mark.targets("direct", "sam", reason="a page of the local AWS's own origin"),
]

# No other test has events in these days.
FIRST, LAST = "2008-03-03", "2008-03-16"
DAYS = {"from": FIRST, "to": LAST}
OF_DAYS = f"range=custom&from={FIRST}&to={LAST}"
PASSWORD = "nine green bottles"
OVERVIEW = ["daily-actives", "weekly-actives", "monthly-actives", "events", "new-users", "actives"]
OVERVIEW += ["lifecycle", "top-events", "retention", "stickiness"]
# What a script of the page makes of what it is given.
OF_MODULE = """async given => {{
  const main = document.querySelector("script[type=module]").src;
  const {{ csvOf, readState, today }} = await import(new URL("{name}", main).href);
  return {call};
}}"""

SignIn = Callable[..., Page]


@pytest.fixture(scope="module")
def sample(stack: DeployedStack) -> DeployedStack:
    """The stack, with two weeks of a made-up product."""
    stack.count(generate(600, 60, 14, date.fromisoformat(LAST), 7))
    return stack


@pytest.fixture
def signed_in(open_page: Open, stack: DeployedStack) -> SignIn:
    """Opens a view in a new profile, signed in by a key of some scopes."""

    def sign_in(
        view: str,
        scopes: tuple[str, ...] = ("admin", "import", "ingest", "read"),
        reach: Reach | None = None,
        **options: object,
    ) -> Page:
        _, key = stack.api_keys.create("page", list(scopes), "http", reach=reach)
        page = open_page("", **options)
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in with the key").click()
        expect(page.locator("nav .brand")).to_be_visible()
        show(page, view)
        return page

    return sign_in


def show(page: Page, view: str) -> None:
    """Load the page anew with a view, so that the one before it is not taken for it."""
    page.goto("about:blank")
    page.goto(f"#/{view}")
    settle(page)


def settle(page: Page) -> None:
    """Wait until nothing loads any more."""
    expect(page.locator(".panel, .card, .drop, .problem, .empty").first).to_be_visible()
    expect(page.locator("[aria-busy], .loading")).to_have_count(0)


def panel(page: Page, about: str) -> Locator:
    return page.locator(f'[data-panel="{about}"]')


def table_of(part: Locator) -> list[list[str]]:
    """The rows of a part's table as they would be in a file."""
    values = "rows => rows.map(row => [...row.querySelectorAll('td')].map(cell => cell.dataset.value))"
    rows: list[list[str]] = part.locator("details.table tbody tr").evaluate_all(values)
    return rows


def texts(rows: list[list[Any]]) -> list[list[str]]:
    return [
        ["" if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in row]
        for row in rows
    ]


def test_every_number_of_the_overview_is_what_the_api_answers(sample: DeployedStack, signed_in: SignIn) -> None:
    page = signed_in(f"overview?{OF_DAYS}")
    both = {"from": "2008-02-18", "to": LAST}
    daily = sample.get("/stats/dau", **DAYS)["data"]
    rolling = {
        length: {
            each["to"]: each["active_users"] for each in sample.get("/stats/actives", **DAYS, rolling=length)["data"]
        }
        for length in (7, 30)
    }
    lifecycle = sample.get("/stats/lifecycle", **DAYS)["data"]
    types = sample.get("/stats/top-events", **DAYS, limit=1000)["data"]
    cohorts = sample.get("/stats/retention/table", **DAYS)["cohorts"]
    sticky = sample.get("/stats/stickiness", **DAYS)["data"]

    assert table_of(panel(page, "actives")) == texts(
        [[day["date"], day["dau"], rolling[7][day["date"]], rolling[30][day["date"]]] for day in daily]
    )
    assert table_of(panel(page, "lifecycle")) == texts(
        [
            [
                each[name]
                for name in ("from", "to", "previous", "new", "returning", "resurrected", "gone", "active_users")
            ]
            for each in lifecycle
        ]
    )
    assert table_of(panel(page, "top-events")) == texts([[each["event_type"], each["count"], 0] for each in types])
    assert table_of(panel(page, "retention")) == texts(
        [
            [
                cohort["from"],
                cohort["to"],
                cohort["cohort_size"],
                *(cell["retained_users"] for cell in cohort["retained"]),
            ]
            + [None] * (len(cohorts) - len(cohort["retained"]))
            for cohort in cohorts
        ]
    )
    assert table_of(panel(page, "stickiness")) == texts(
        [[day["date"], day["dau"], day["mau"], day["stickiness"]] for day in sticky]
    )
    tiles = {about: panel(page, about).locator(".value").get_attribute("data-value") for about in OVERVIEW[:5]}
    assert float(tiles["daily-actives"] or 0) == pytest.approx(sum(day["dau"] for day in daily) / len(daily))
    assert tiles["weekly-actives"] == str(rolling[7][LAST])
    assert tiles["monthly-actives"] == str(rolling[30][LAST])
    assert tiles["events"] == str(sum(each["count"] for each in types)) == "600"
    assert tiles["new-users"] == str(sum(each["new"] for each in sample.get("/stats/lifecycle", **both)["data"]))


@pytest.mark.parametrize("period", ["week", "month"])
def test_the_overview_takes_its_period_and_segment_from_the_address(
    sample: DeployedStack, signed_in: SignIn, period: str
) -> None:
    page = signed_in(f"overview?{OF_DAYS}&period={period}&segment=event_type%3Asearch")
    asked = {**DAYS, "period": period, "segment": "event_type:search"}

    periods = sample.get("/stats/actives", **asked)["data"]
    assert [row[:3] for row in table_of(panel(page, "actives"))] == texts(
        [[each["from"], each["to"], each["active_users"]] for each in periods]
    )
    cohorts = sample.get("/stats/retention/table", **asked)["cohorts"]
    assert [row[:3] for row in table_of(panel(page, "retention"))] == texts(
        [[each["from"], each["to"], each["cohort_size"]] for each in cohorts]
    )
    expect(page.get_by_text("event_type is search")).to_be_visible()


def test_every_number_says_what_it_is_and_is_saved_as_csv(sample: DeployedStack, signed_in: SignIn) -> None:
    page = signed_in(f"overview?{OF_DAYS}")
    about = page.get_by_role("button", name="About Top events")
    about.click()
    told = page.get_by_role("dialog", name="About Top events")

    for text in ("Definition", "Timezone", "UTC", "As of", "Read from", "counters", "Final"):
        expect(told).to_contain_text(text)
    with page.expect_download() as saved:
        told.get_by_role("button", name="Save as CSV").click()
    rows = saved.value.path().read_text().splitlines()
    assert rows[0] == "event type,events,before"
    first = sample.get("/stats/top-events", **DAYS)["data"][0]
    assert rows[1] == f"{first['event_type']},{first['count']},0"
    for name in OVERVIEW:
        assert panel(page, name).get_by_role("button", name=re.compile("^About ")).count() == 1


def test_a_segment_is_built_from_the_names_and_values_that_events_have(
    sample: DeployedStack, signed_in: SignIn
) -> None:
    page = signed_in(f"overview?{OF_DAYS}")
    page.get_by_role("button", name="+ Segment").click()
    page.get_by_label("Event type").select_option("purchase")
    page.get_by_text("country", exact=True).click()
    page.get_by_role("button", name=re.compile("^DE ")).click()
    settle(page)

    assert page.url.endswith("segment=properties.country%3ADE")
    types = sample.get("/stats/top-events", **DAYS, limit=1000, segment="properties.country:DE")["data"]
    assert table_of(panel(page, "top-events")) == texts([[each["event_type"], each["count"], 0] for each in types])


def test_days_without_events_say_what_to_do_next(signed_in: SignIn, sample: DeployedStack) -> None:
    page = signed_in("overview?range=custom&from=2001-01-01&to=2001-01-07")

    expect(panel(page, "actives")).to_contain_text("No events from")
    expect(panel(page, "actives").get_by_role("link", name="send the first event")).to_be_visible()


def test_a_part_that_fails_says_so_and_is_tried_again_alone(sample: DeployedStack, signed_in: SignIn) -> None:
    page = signed_in("settings")
    page.route(
        "**/stats/stickiness?*", lambda route: route.fulfill(status=422, json={"code": "odd", "message": "So odd."})
    )
    show(page, f"overview?{OF_DAYS}")
    broken = panel(page, "stickiness")

    expect(broken.get_by_role("alert")).to_contain_text("So odd.")
    expect(page.get_by_role("alert")).to_have_count(1)
    page.unroute("**/stats/stickiness?*")
    broken.get_by_role("button", name="Try again").click()
    expect(broken.get_by_role("img")).to_be_visible()


def test_an_account_signs_in_stays_after_a_reload_and_signs_out(
    open_page: Open, stack: DeployedStack, sample: DeployedStack
) -> None:
    email = "page@example.com"
    made = stack.http.post("/auth/register", json={"email": email, "password": PASSWORD, "scopes": ["read"]})
    assert made.status_code == 201
    page = open_page()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill("eight green bottles")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("the email or the password is wrong")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    expect(page.locator("nav")).not_to_contain_text("Settings")

    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert cookie["path"] == "/v1/auth/session"
    assert "bottles" not in str(page.context.storage_state())
    page.reload()
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    # What it may not see it is not shown, whatever the address says.
    page.goto("#/settings")
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    assert page.context.cookies() == []
    page.reload()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()


def test_a_link_with_a_code_signs_in_once_and_does_not_stay_in_the_address(
    open_page: Open, stack: DeployedStack
) -> None:
    code = stack.http.post("/auth/codes", json={}).json()["code"]
    page = open_page(f"#code={code}")
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()

    assert code not in page.url
    page.goto("about:blank")
    page.goto(f"#code={code}")
    # Whoever opens it again is signed in by it already.
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    again = open_page(f"#code={code}")
    expect(again.get_by_role("alert")).to_contain_text("the code is not known, was used before, or is no longer good")


def test_a_link_with_a_code_that_is_opened_where_the_page_is_open_signs_in_too(
    open_page: Open, stack: DeployedStack
) -> None:
    code = stack.http.post("/auth/codes", json={}).json()["code"]
    page = open_page()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()

    page.goto(f"#code={code}")

    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    assert code not in page.url


def test_what_an_address_names_wrongly_is_as_it_is_at_first(open_page: Open) -> None:
    page = open_page()

    first, *others = page.evaluate(
        OF_MODULE.format(name="state.js", call="given.map(readState)"),
        [
            "",
            *(f"range={name}&period={name}" for name in ("constructor", "toString", "__proto__", "1d")),
            *(f"range=custom&from={day}&to={day}" for day in ("2026-13-01", "2026-02-31", "2026-00-00", "today")),
        ],
    )

    assert first["range"] == "30d"
    assert others == [first] * 8


def test_a_timezone_that_the_browser_does_not_know_has_the_day_of_utc(open_page: Open) -> None:
    page = open_page()

    days = page.evaluate(OF_MODULE.format(name="format.js", call="given.map(today)"), ["Mars/Olympus", "UTC"])

    assert days[0] == days[1]


def test_no_text_is_a_formula_in_a_file_that_is_saved(open_page: Open) -> None:
    texts = [
        f"{before}{beginning}1"
        for before in ("", " ", "'", '"', "\u200b", "\ufeff", "a;")
        for beginning in "=+-@\uff1d\u2212"
    ]
    texts += ["\t", "\n", "plain", "'plain", "a,b", "\xb4="]
    page = open_page()

    text = page.evaluate(
        OF_MODULE.format(name="table.js", call="csvOf({columns: [{name: 'text'}], rows: given.map(each => [each])})"),
        texts,
    )

    _, *rows = csv.reader(io.StringIO(text, newline=""))
    assert rows == [[escape_formula(each)] for each in texts]
    assert '\r\n"a;=1"\r\n' in text


def test_a_file_is_imported_and_its_rejected_rows_are_downloaded(stack: DeployedStack, signed_in: SignIn) -> None:
    # Of all projects, none of which it may list.
    page = signed_in("files", scopes=("import",), reach=ALL)
    rows = "".join(f"page-{each},2008-04-01T00:00:00Z,u{each},open\n" for each in range(3))
    content = f"event_id,occurred_at,user_id,event_type\n{rows}page-9,yesterday,u,open\n"
    # Of a name this long, the end goes to the bucket.
    name = f"of the page{'é' * 100}.csv"
    file: Any = {"name": name, "mimeType": "text/csv", "buffer": content.encode()}
    page.get_by_label("Files to import").set_input_files(file)

    card = page.get_by_role("region", name=name)
    download = card.get_by_role("button", name="Download the rows that were not counted")
    expect(download).to_be_visible()
    for name, number in {"Rows": "4", "Accepted": "3", "Rejected": "1", "Counted now": "3"}.items():
        expect(card.locator(f'[data-row="{name}"]')).to_have_text(number)
    with page.expect_download() as saved:
        download.click()
    assert "yesterday" in saved.value.path().read_text()
    assert stack.get("/stats/dau", **{"from": "2008-04-01", "to": "2008-04-01"})["data"][0]["dau"] == 3


def test_a_new_key_sends_an_event_that_is_seen_live_and_found_by_its_id(
    stack: DeployedStack, signed_in: SignIn
) -> None:
    page = signed_in("settings")
    page.get_by_text("Make another key").click()
    page.get_by_label("Name").first.fill("seen live")
    page.get_by_role("button", name="Make the key").click()
    key = page.locator("[data-secret]").text_content()
    assert key
    lines = page.get_by_role("region", name="SDKs").locator("pre")
    expect(lines).to_contain_text(key)
    expect(lines).to_contain_text(str(stack.http.base_url).rstrip("/"))
    line = page.get_by_role("region", name="API keys").locator("pre").text_content() or ""
    url, body = re.findall(r"'([^']+)'", line)[1:]
    show(page, "live")
    expect(page.get_by_role("table", name="Events by type")).to_be_visible()

    sent = httpx2.post(url, content=body, headers={"X-API-Key": key}, trust_env=False, timeout=60)

    assert sent.status_code == 202, sent.text
    row = page.locator('tr[data-name="hello"]')
    expect(row.locator("td").nth(1)).to_have_text("+1")
    show(page, "live")
    mine = page.get_by_role("table", name="Events of today by key").get_by_role("row").filter(has_text="seen live")
    expect(mine.get_by_role("cell")).to_have_text(["seen live", "1", "1", "0", "1", "0", "0"])
    page.get_by_label("Event id").fill(re.findall(r'"event_id":"([^"]+)"', body)[0])
    page.get_by_role("button", name="Look it up").click()
    expect(page.get_by_text("Yes: it is counted as hello")).to_be_visible()
    page.get_by_label("Event id").fill("of nobody")
    page.get_by_role("button", name="Look it up").click()
    expect(page.get_by_text("Not here.")).to_be_visible()


def test_an_admin_makes_an_account_sees_its_sessions_and_disables_it(stack: DeployedStack, signed_in: SignIn) -> None:
    person = {"email": "listed@example.com", "password": PASSWORD}
    page = signed_in("settings")
    accounts = page.get_by_role("region", name="Accounts")
    accounts.get_by_text("Make an account").click()
    accounts.get_by_label("Email").fill(person["email"])
    accounts.get_by_label("Password").fill(person["password"])
    accounts.get_by_role("button", name="Make the account").click()
    row = accounts.get_by_role("table", name="Accounts").get_by_role("row").filter(has_text=person["email"])
    expect(row).to_contain_text("may log in")
    assert stack.http.post("/auth/login", json=person).status_code == 200

    accounts.get_by_text(f"Sessions of {person['email']}").click()

    sessions = accounts.get_by_role("table", name=f"Sessions of {person['email']}")
    expect(sessions.get_by_role("row")).to_have_count(2)
    sessions.get_by_role("button", name="End the session").click()
    sessions.get_by_role("button", name="End the session").click()
    expect(accounts).to_contain_text("No session.")
    row.get_by_role("button", name=f"Disable {person['email']}").click()
    row.get_by_role("button", name=f"Disable {person['email']}").click()
    expect(row).to_contain_text("disabled")
    assert stack.http.post("/auth/login", json=person).status_code == 401


def test_a_share_link_shows_one_view_to_whoever_has_it_until_it_is_revoked(
    sample: DeployedStack, signed_in: SignIn, open_page: Open
) -> None:
    page = signed_in("settings")
    page.get_by_text("Share the overview of default").click()
    shares = page.get_by_role("region", name="Share links")
    shares.get_by_label("Name").fill("For the board")
    shares.get_by_role("button", name="Make the link").click()
    link = shares.locator("[data-secret]").text_content()
    assert link

    guest = open_page(link)
    expect(guest.get_by_role("heading", level=1, name="For the board")).to_be_visible()
    settle(guest)
    expect(guest.get_by_role("alert")).to_have_count(0)
    expect(guest.locator("nav")).to_be_empty()
    assert guest.context.cookies() == []
    guest.goto(link.replace("/overview", "/settings"))
    expect(guest.get_by_role("heading", level=1, name="For the board")).to_be_visible()

    shares.get_by_role("button", name="Revoke For the board").click()
    shares.get_by_role("button", name="Revoke For the board").click()
    expect(shares).to_contain_text("Nothing is shared")
    guest.reload()
    expect(guest.get_by_role("alert")).to_be_visible()


def test_a_range_of_a_year_is_compared_with_the_year_before(sample: DeployedStack, signed_in: SignIn) -> None:
    page = signed_in("overview?range=custom&from=2008-01-01&to=2008-12-31&period=month")

    expect(page.get_by_role("alert")).to_have_count(0)
    months = sample.get("/stats/actives", **{"from": "2008-01-01", "to": "2008-12-31", "period": "month"})["data"]
    before = sample.get("/stats/actives", **{"from": "2007-01-01", "to": "2007-12-31", "period": "month"})["data"]
    assert table_of(panel(page, "actives")) == texts(
        [
            [now["from"], now["to"], now["active_users"], then["active_users"]]
            for now, then in zip(months, before, strict=True)
        ]
    )
    # A week is in both years.
    show(page, "overview?range=custom&from=2008-01-01&to=2008-12-31&period=week")
    weeks = [row[0] for row in table_of(panel(page, "lifecycle"))]
    assert weeks == [str(date(2007, 12, 31) + timedelta(7 * week)) for week in range(53)]
    show(page, "overview?range=custom&from=2008-01-01&to=2009-01-01")
    expect(page.locator(".empty")).to_contain_text("366 days can be shown at most.")
    expect(page.locator(".panel")).to_have_count(0)


def test_more_types_than_are_listed_are_no_sum_of_all_events(sample: DeployedStack, signed_in: SignIn) -> None:
    page = signed_in("settings")
    listed = {"data": [{"event_type": f"type {each}", "count": 1} for each in range(1000)]}
    page.route("**/stats/top-events?*", lambda route: route.fulfill(json=listed))
    show(page, f"overview?{OF_DAYS}")

    expect(panel(page, "events").locator(".what")).to_have_text("of the 1,000 most frequent types")
    page.unroute("**/stats/top-events?*")
    only = {"data": [{"event_type": f"type {each}", "count": 1} for each in range(1, 1001)]}
    page.route(
        "**/stats/top-events?*",
        lambda route: route.fulfill(json=listed if f"from={FIRST}" in route.request.url else only),
    )
    show(page, f"overview?{OF_DAYS}")
    # It may have been among those before that are not listed.
    assert table_of(panel(page, "top-events"))[0] == ["type 0", "1", ""]


def focused(page: Page) -> str:
    name: str = page.evaluate(
        "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
    )
    return name


def test_keys_go_on_where_they_were_when_something_else_is_shown(sample: DeployedStack, signed_in: SignIn) -> None:
    page = signed_in(f"overview?{OF_DAYS}")
    page.get_by_role("button", name="Weekly", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Weekly", exact=True)).to_have_attribute("aria-pressed", "true")
    assert focused(page) == "Weekly"
    page.get_by_role("link", name="Live").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Live")).to_be_focused()


def test_a_day_can_be_typed(sample: DeployedStack, signed_in: SignIn) -> None:
    page = signed_in(f"overview?{OF_DAYS}")
    first, last = page.get_by_label("From", exact=True), page.get_by_label("To", exact=True)
    first.focus()
    page.keyboard.type("03052008")
    # Each digit of the year is a change to another day.
    assert page.url.endswith(OF_DAYS)
    first.evaluate("field => field.dataset.before = ''")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("from=2008-03-05&to=2008-03-16$"))
    expect(page.locator("[data-before]")).to_have_count(0)
    expect(first).to_be_focused()
    # Of two later days, the first one is not refused while the second one is to come.
    page.keyboard.type("04012008")
    last.focus()
    page.keyboard.type("04302008")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("from=2008-04-01&to=2008-04-30$"))


def test_a_project_that_is_not_there_is_not_another_one(sample: DeployedStack, signed_in: SignIn) -> None:
    page = signed_in(f"overview?project=nowhere&{OF_DAYS}")

    expect(page.locator(".empty")).to_contain_text("There is no project nowhere, or you may not see it.")
    expect(page.locator(".panel")).to_have_count(0)
    page.get_by_role("link", name="Show default").click()
    expect(panel(page, "daily-actives")).to_be_visible()


def test_a_share_begins_as_it_says_and_needs_no_storage(
    sample: DeployedStack, open_page: Open, stack: DeployedStack
) -> None:
    until = (datetime.now(UTC) + timedelta(1)).isoformat()
    wanted = {"name": "Weeks", "view": "overview", "days": 30, "period": "week", "expires_at": until}
    share = stack.http.post("/shares", json=wanted).json()
    page = open_page()
    # As in a frame of another site, where a browser may keep nothing.
    denied = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('denied') }})"
    page.context.add_init_script(denied)
    page.goto("about:blank")
    page.goto(f"#share={share['token']}")

    expect(page.get_by_role("heading", level=1, name="Weeks")).to_be_visible()
    expect(page.get_by_role("button", name="Weekly", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Daily", exact=True).click()
    expect(page.get_by_role("button", name="Daily", exact=True)).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.get_by_role("button", name="Daily", exact=True)).to_have_attribute("aria-pressed", "true")
    assert stack.http.delete(f"/shares/{share['share_id']}").status_code == 204
    page.get_by_role("button", name="Weekly", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("there is no such share, or it has ended")
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_have_count(0)


def test_a_session_that_ends_says_so_and_another_tabs_sign_in_is_this_ones_too(
    sample: DeployedStack, stack: DeployedStack, signed_in: SignIn
) -> None:
    page = signed_in("overview", scopes=("admin", "read"))
    other, (_, reader) = page.context.new_page(), stack.api_keys.create("reader", ["read"], "http")

    def sign_in_anew() -> None:
        other.goto("")
        other.get_by_role("button", name="Sign out").click()
        other.get_by_label("API key").fill(reader)
        other.get_by_role("button", name="Sign in with the key").click()
        expect(other.get_by_role("heading", level=1, name="Overview")).to_be_visible()

    sign_in_anew()
    expect(page.locator("nav")).to_contain_text("Settings")
    page.get_by_role("button", name="Weekly", exact=True).click()
    expect(page.locator("nav")).not_to_contain_text("Settings")
    expect(page.get_by_role("button", name="Weekly", exact=True)).to_have_attribute("aria-pressed", "true")
    settle(page)

    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    page.get_by_role("button", name="Monthly", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("the session has ended")


VIEWS = [f"overview?{OF_DAYS}", "live", "files", "settings"]


@pytest.mark.parametrize("view", VIEWS, ids=["overview", "live", "files", "settings"])
def test_no_view_has_a_serious_barrier_or_is_wider_than_its_window(
    sample: DeployedStack, signed_in: SignIn, barriers: Callable[[Page], list[str]], view: str
) -> None:
    page = signed_in(view)

    for width in (360, 1280, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert barriers(page) == []


def test_long_names_make_no_view_wider_than_its_window(sample: DeployedStack, signed_in: SignIn) -> None:
    page = signed_in("settings", viewport={"width": 360, "height": 900})

    def lengthen(route: Route) -> None:
        answer = route.fetch().json()
        (of_default, *_) = answer["projects"]
        answer["projects"] = [
            of_default | {"name": name, "display_name": name[0] * 100} for name in ("default", "other")
        ]
        for each in answer["projects"]:
            each["data"] = [row | ({"event_type": "W" * 128} if "count" in row else {}) for row in each["data"]]
        route.fulfill(json=answer)

    page.route(re.compile(r"/stats/.*project=\*"), lengthen)
    for view in (f"overview?project=*&{OF_DAYS}", f"overview?{OF_DAYS}", "live", "settings"):
        show(page, view)
        expect(page.get_by_label("Project", exact=True)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view

"""The page in a real browser: how it is loaded, and what it may do."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.browser.conftest import Open, Watched
from tests.e2e.conftest import DeployedStack, wait_until

pytestmark = [
    pytest.mark.xdist_group("stack"),
    pytest.mark.targets("direct", "sam", reason="a page of the local AWS's own origin"),
]

LOADED = """() => performance.getEntriesByType("resource").map(one => [new URL(one.name).pathname, one.transferSize])"""
STRANGER = "http://evil.example/"
EMBEDDING = "<!doctype html><title>evil</title><iframe src='PAGE'></iframe>"
UPLOAD = """async ({key, rows}) => {
  const headers = {"X-API-Key": key, "Content-Type": "application/json"};
  const body = JSON.stringify({name: "rows.csv", bytes: new Blob([rows]).size});
  const begun = await (await fetch("imports", {method: "POST", headers, body})).json();
  const {"Content-Length": _, ...signed} = begun.headers;
  const sent = await fetch(begun.url, {method: "PUT", headers: signed, body: new Blob([rows], {type: "text/csv"})});
  return [sent.status, begun.import_id];
}"""


def assets(page: Page) -> dict[str, int]:
    """The sizes that were transferred of each asset of a page, by its name."""
    loaded: list[tuple[str, int]] = page.evaluate(LOADED)
    return {path.rpartition("/")[2]: size for path, size in loaded if "/assets/" in path}


@pytest.mark.parametrize("address", ["", "../v1"], ids=["with the slash", "without the slash"])
def test_the_page_loads_all_that_it_names_wherever_the_api_is(open_page: Open, address: str) -> None:
    page = open_page(address)

    expect(page.get_by_role("heading", level=1)).to_be_visible()
    wait_until(lambda: page.evaluate("typeof globalThis.echarts?.init") == "function")
    # Links to fragments would load the page anew from an address without the slash.
    assert page.evaluate("location.pathname").endswith("/v1/")
    assert {"style.css", "main.js", "echarts.min.js"} <= assets(page).keys()


def test_nothing_is_loaded_a_second_time_but_the_page_itself(open_page: Open, stack: DeployedStack) -> None:
    page = open_page()
    wait_until(lambda: page.evaluate("typeof globalThis.echarts?.init") == "function")
    first = assets(page)
    again = page.context.new_page()
    again.goto("")

    assert all(first.values())
    # Less than the page compressed may have, and much less than the library as it is.
    assert first["echarts.min.js"] < 400_000
    wait_until(lambda: again.evaluate("typeof globalThis.echarts?.init") == "function")
    # Nothing waits for the icon.
    assert {name: size for name, size in assets(again).items() if name in first} == dict.fromkeys(first, 0)


def test_a_view_has_no_serious_barrier_in_light_or_dark(open_page: Open, barriers: Callable[[Page], list[str]]) -> None:
    page = open_page()
    assert barriers(page) == []
    page.evaluate("document.body.append(document.createElement('button'))")
    assert [barrier.partition(":")[0] for barrier in barriers(page)] == ["light", "dark"]


def test_the_page_may_call_the_api_and_send_a_file_where_the_api_tells_it_to(
    open_page: Open, stack: DeployedStack
) -> None:
    page = open_page()
    rows = "event_id,occurred_at,user_id,event_type\nfrom-a-page,2006-03-01T00:00:00Z,u,open\n"

    status, import_id = page.evaluate(UPLOAD, {"key": stack.key, "rows": rows})

    assert status == 200
    wait_until(lambda: stack.get(f"/imports/{import_id}")["status"] == "done")
    day = {"from": "2006-03-01", "to": "2006-03-01"}
    assert stack.get("/stats/dau", **day)["data"][0]["dau"] == 1


# What somebody who gets text into the page would have it do, and what stops that.
ATTACKS = {
    "document.body.append(Object.assign(document.createElement('script'), {text: '1'}))": "script-src-elem",
    "document.body.setAttribute('style', 'color: red')": "style-src-attr",
    "document.body.setAttribute('onclick', '1')": "script-src-attr",
    "fetch('https://evil.example/').catch(() => 0)": "connect-src",
    "void (new Image().src = 'https://evil.example/1.png')": "img-src",
    "document.head.prepend(Object.assign(document.createElement('base'), {href: 'https://evil.example/'}))": "base-uri",
}


def test_the_policy_stops_what_is_not_the_page_s_own_and_a_test_would_notice(open_page: Open, watched: Watched) -> None:
    page = open_page()
    assert watched.faults == []

    for attack, directive in ATTACKS.items():
        page.evaluate(attack)
        assert watched.take(page, f"its policy {directive} stopped ")


def embedded(page: Page, stack: DeployedStack, policy: Callable[[str], str]) -> str:
    """Where a frame of another origin's page ends up that wants to show the page, whose policy may be changed."""

    def answer(route: Route) -> None:
        if route.request.url == STRANGER:
            route.fulfill(content_type="text/html", body=EMBEDDING.replace("PAGE", f"{stack.http.base_url}"))
            return
        fetched = route.fetch()
        headers = fetched.headers
        route.fulfill(
            response=fetched, headers={**headers, "content-security-policy": policy(headers["content-security-policy"])}
        )

    page.route(STRANGER, answer)
    page.route(f"{stack.http.base_url}", answer)
    page.goto(STRANGER)
    frame = page.frames[1]
    frame.wait_for_load_state()
    return frame.url


def test_no_page_of_another_origin_embeds_the_page_unless_it_is_listed(
    open_page: Open, stack: DeployedStack, watched: Watched
) -> None:
    refused = embedded(open_page(), stack, lambda policy: policy)
    watched.faults.clear()
    listed = f"frame-ancestors {STRANGER.rstrip('/')}"
    let_in = embedded(open_page(), stack, lambda policy: policy.replace("frame-ancestors 'none'", listed))
    watched.faults.clear()

    assert refused.startswith("chrome-error:")
    assert let_in == f"{stack.http.base_url}"

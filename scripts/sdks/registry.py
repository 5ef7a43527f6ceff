"""The SDKs that the suite runs. Another one is a driver beside the others, and a row here."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from scripts.paths import ROOT

HERE = ROOT / "scripts/sdks"
PYTHON_PINS = ROOT / "scripts/sdks-requirements.txt"
NODE_PINS = HERE / "node/package.json"

Runtime = Literal["python", "node", "browser"]
# Of the CloudEvents that the drivers send.
SOURCE = "https://example.com/shop"
# Event types as people write them. Each gets the name of the run at its end.
TYPES = ("signed up", "viewed ☕", "größerer Kauf", "запит")


@dataclass(frozen=True)
class Sdk:
    """An SDK, what its driver can have it do, and what the service makes of that."""

    name: str
    package: str
    runtime: Runtime
    driver: str
    """The driver's file, in the folder of the runtime."""
    stored_id: Callable[[str], str]
    """The id that an event is stored under, of the SDK's own."""
    variant: str = ""
    """What the driver is told, where an SDK has several ways."""
    calls: Mapping[str, str] = field(default_factory=dict)
    """Calls besides that of an event by its name, and the event type that each ends in. `{run}` is the run's name."""
    profiles: int = 0
    """How many calls about people its driver makes. They are taken in, and in no number."""
    ids: bool = True
    """Whether its user can set an event's id."""
    uuids: bool = False
    """Whether ids have to be UUIDs."""
    times: bool = True
    """Whether its user can set an event's time."""
    users: int = 5
    """How many users it sends events of. A browser has one."""
    types: Sequence[str] = TYPES
    kept: Collection[str] = ("track", "page", "screen")
    """The calls whose properties are kept."""

    @property
    def version(self) -> str:
        """The release that is installed and run."""
        return pinned(self.package, self.runtime)


@cache
def _pins() -> Mapping[str, str]:
    found: dict[str, str] = dict(re.findall(r"^([\w.-]+)==(\S+)", PYTHON_PINS.read_text(), re.MULTILINE))
    return {f"python {name}": version for name, version in found.items()} | {
        f"npm {name}": version for name, version in json.loads(NODE_PINS.read_text())["dependencies"].items()
    }


def pinned(package: str, runtime: Runtime) -> str:
    """The version of a package that is pinned."""
    return _pins()[f"{'python' if runtime == 'python' else 'npm'} {package}"]


def _named(dialect: str) -> Callable[[str], str]:
    """The stored id in a dialect, of ids that are no UUIDs."""
    return lambda event_id: f"{dialect}:{event_id}"


def _of_source(event_id: str) -> str:
    return f"cloudevents:{SOURCE} {event_id}"


def _same(event_id: str) -> str:
    return event_id


_PAGES = {"page": "$page", "screen": "$screen"}
_SNOWPLOW = {"self_describing": "bought_{run}", "page_view": "page_view", "page_ping": "page_ping"}

SDKS: Sequence[Sdk] = (
    Sdk(
        "Segment for Python",
        "segment-analytics-python",
        "python",
        "segment_driver",
        _named("segment"),
        profiles=3,
        calls=_PAGES,
    ),
    Sdk(
        "RudderStack for Python",
        "rudder-sdk-python",
        "python",
        "rudderstack_driver",
        _named("segment"),
        profiles=3,
        calls=_PAGES,
    ),
    Sdk(
        "Segment for node",
        "@segment/analytics-node",
        "node",
        "segment.mjs",
        _named("segment"),
        profiles=3,
        calls=_PAGES,
    ),
    Sdk(
        "RudderStack for node",
        "@rudderstack/rudder-sdk-node",
        "node",
        "rudderstack.mjs",
        _named("segment"),
        profiles=3,
        calls=_PAGES,
        ids=False,
    ),
    Sdk(
        "Segment for browsers",
        "@segment/analytics-next",
        "browser",
        "segment.html",
        _named("segment"),
        profiles=3,
        calls=_PAGES,
        users=1,
    ),
    Sdk(
        "Jitsu",
        "@jitsu/js",
        "node",
        "jitsu.mjs",
        _named("segment"),
        profiles=2,
        variant="s2s",
        calls={"page": "$page"},
        ids=False,
        times=False,
    ),
    Sdk("PostHog for Python", "posthog", "python", "posthog_driver", _same, profiles=4, variant="v0", uuids=True),
    Sdk("PostHog for Python, v1", "posthog", "python", "posthog_driver", _same, profiles=4, variant="v1", uuids=True),
    Sdk("PostHog for node", "posthog-node", "node", "posthog.mjs", _same, profiles=3, variant="v0", uuids=True),
    Sdk("PostHog for node, v1", "posthog-node", "node", "posthog.mjs", _same, profiles=3, variant="v1", uuids=True),
    Sdk("PostHog for browsers", "posthog-js", "browser", "posthog.html", _same, profiles=3, ids=False, users=1),
    Sdk(
        "Snowplow for Python",
        "snowplow-tracker",
        "python",
        "snowplow_driver",
        _same,
        calls=_SNOWPLOW,
        ids=False,
        kept=("self_describing",),
    ),
    Sdk("Amplitude for Python", "amplitude-analytics", "python", "amplitude_driver", _named("amplitude"), profiles=2),
    Sdk("Amplitude for node", "@amplitude/analytics-node", "node", "amplitude.mjs", _named("amplitude"), profiles=2),
    Sdk("Mixpanel for Python", "mixpanel", "python", "mixpanel_driver", _named("mixpanel"), profiles=2),
    Sdk("Mixpanel for node", "mixpanel", "node", "mixpanel.mjs", _named("mixpanel"), profiles=2),
    Sdk("CloudEvents for Python", "cloudevents", "python", "cloudevents_driver", _of_source),
    Sdk("CloudEvents for node", "cloudevents", "node", "cloudevents.mjs", _of_source),
)

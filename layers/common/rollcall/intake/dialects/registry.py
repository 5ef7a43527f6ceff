"""The dialects that are known, and which of them a request is in."""

from collections.abc import Sequence

from rollcall.intake.bodies import UnreadableBody
from rollcall.intake.dialects.amplitude import Amplitude
from rollcall.intake.dialects.cloudevents import CloudEvents
from rollcall.intake.dialects.dialect import Dialect, Sent
from rollcall.intake.dialects.mixpanel import Mixpanel
from rollcall.intake.dialects.posthog import PostHog, PostHogV1
from rollcall.intake.dialects.segment import Segment
from rollcall.intake.dialects.snowplow import Snowplow

# Where routes meet, the first one that speaks as a request does has it. So Segment, which takes any object, is last.
DIALECTS: Sequence[Dialect] = (
    PostHog(),
    PostHogV1(),
    Amplitude(),
    Mixpanel(),
    Snowplow(),
    CloudEvents(),
    Segment(),
)


def routes() -> dict[str, tuple[str, ...]]:
    """The methods of each route of the dialects."""
    found: dict[str, dict[str, None]] = {}
    for dialect in DIALECTS:
        for route, methods in dialect.routes.items():
            found.setdefault(route, {}).update(dict.fromkeys(methods))
    return {route: tuple(methods) for route, methods in found.items()}


def dialect_of(sent: Sent) -> Dialect:
    """The dialect of a request to one of the routes; the last one of the route if the body cannot be read."""
    able = [each for each in DIALECTS if sent.method in each.routes.get(sent.route, ())]
    for dialect in able[:-1]:
        try:
            if dialect.speaks(sent):
                return dialect
        except UnreadableBody:
            break
    return able[-1]

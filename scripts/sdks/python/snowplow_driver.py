"""Drives snowplow-tracker. Half of the events go by POST, half by GET."""

from snowplow_tracker import (
    Emitter,
    PagePing,
    PageView,
    SelfDescribing,
    SelfDescribingJson,
    StructuredEvent,
    Subject,
    Tracker,
)

from scripts.sdks.python.driving import Event, Load, drive, wait_until

PAGE = "https://example.com/caf%C3%A9?q=a+b"


def made(event: Event) -> PageView | PagePing | SelfDescribing | StructuredEvent:
    """An event as the tracker takes it."""
    rest = {
        "event_subject": Subject().set_user_id(event.user_id),
        "true_timestamp": event.moment.timestamp() * 1000,
    }
    if event.call == "page_view":
        return PageView(PAGE, f"Café ☕ {event.properties['load']}", **rest)
    if event.call == "page_ping":
        return PagePing(PAGE, f"Café ☕ {event.properties['load']}", **rest)
    if event.call == "self_describing":
        schema = f"iglu:com.example/{event.event_type}/jsonschema/1-0-0"
        return SelfDescribing(SelfDescribingJson(schema, event.properties), **rest)
    return StructuredEvent("shop", event.event_type, event.properties["load"], "größer", 12.5, **rest)


def send(load: Load, errors: list[str]) -> None:
    """Send the load."""
    answered: list[object] = []

    def failed(_sent: int, unsent: list[object]) -> None:
        errors.append(f"{len(unsent)} events were not sent")

    half = len(load.events) // 2
    for method, events, due in (("post", load.events[:half], half), ("get", load.events[half:], len(load.events))):
        emitter = Emitter(
            load.url, protocol="http", method=method, batch_size=8, on_success=answered.extend, on_failure=failed
        )
        tracker = Tracker("rollcall", emitter, app_id=load.key, encode_base64=method == "post")
        for event in events:
            tracker.track(made(event))
        # What was refused is sent again after a while, or with the next events. What waits by then is kept for more.
        if not wait_until(lambda due=due, tracker=tracker: _flushed(tracker, answered, due)):  # type: ignore[misc]
            errors.append(f"{due - len(answered)} events wait to be sent again")
        emitter.cancel_flush_timer()


def _flushed(tracker: Tracker, answered: list[object], due: int) -> bool:
    tracker.flush()
    return len(answered) >= due


drive(send)

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

from scripts.sdks.python.driving import Event, Load, drive

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

    def failed(_sent: int, unsent: list[object]) -> None:
        errors.append(f"{len(unsent)} events were not sent")

    half = len(load.events) // 2
    for method, events in (("post", load.events[:half]), ("get", load.events[half:])):
        emitter = Emitter(load.url, protocol="http", method=method, batch_size=8, on_failure=failed)
        tracker = Tracker("rollcall", emitter, app_id=load.key, encode_base64=method == "post")
        for event in events:
            tracker.track(made(event))
        tracker.flush()
        if waiting := emitter.event_store.size():
            errors.append(f"{waiting} events wait to be sent again")
        emitter.cancel_flush_timer()
        emitter._cancel_retry_timer()


drive(send)

"""Drives cloudevents: by turns binary, structured, and, which the SDK leaves to its user, a batch."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from scripts.sdks.python.driving import Event, Load, drive

SOURCE = "https://example.com/shop"


def made(event: Event) -> CloudEvent:
    """An event as the SDK takes it."""
    attributes = {
        "id": event.event_id,
        "source": SOURCE,
        "type": event.event_type,
        "time": event.moment,
        "subject": event.user_id,
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, event.properties)


def send(load: Load, errors: list[str]) -> None:
    """Send the load."""

    def post(headers: Mapping[str, str], body: bytes) -> None:
        request = urllib.request.Request(f"{load.url}/events", body, {**headers, "X-API-Key": load.key})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60):  # noqa: S310
                pass
        except urllib.error.HTTPError as error:
            errors.append(f"{error.code} {error.read().decode(errors='replace')}")

    third = len(load.events) // 3
    for number, event in enumerate(load.events[third:]):
        message = (to_binary_event if number % 2 else to_structured_event)(made(event))
        post(message.headers, message.body)
    batch = [json.loads(to_structured_event(made(event)).body) for event in load.events[:third]]
    post({"Content-Type": "application/cloudevents-batch+json"}, json.dumps(batch).encode())


drive(send)

"""What the drivers of the Python SDKs share: the load on standard input, the report on standard output.

A driver sends the events of the load as any user of its SDK would. It imports nothing but the standard library and the
SDK, because it runs in the SDKs' own environment.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

# Longer than an SDK takes for a second try.
WAIT_SECONDS, LOOK_SECONDS = 30.0, 0.02


class Event(NamedTuple):
    """An event to send."""

    call: str
    """Which of the SDK's calls it goes through: `track`, or another one that the registry names for the SDK."""
    event_type: str
    user_id: str
    moment: datetime
    """In UTC."""
    event_id: str
    properties: dict[str, Any]


@dataclass(frozen=True)
class Load:
    """What to send, where, and with which key."""

    url: str
    """Of the API, without a slash at the end."""
    key: str
    variant: str
    """Which way of the SDK is meant, where it has several."""
    events: list[Event]
    """In the order in which to send them. One that is there twice is sent twice."""
    user_id: str
    """Of the calls about people."""


def drive(send: Callable[[Load, list[str]], None]) -> None:
    """Have `send` send the load, and report what the SDK said.

    `send` appends the errors that the SDK tells its callbacks. What the SDK logs as a warning or worse is an error,
    too, and so is an exception, in whatever thread it is raised.
    """
    given = json.load(sys.stdin)
    events = [Event(**{**each, "moment": datetime.fromisoformat(each["moment"])}) for each in given.pop("events")]
    errors: list[str] = []
    logging.getLogger().addHandler(_Listener(errors))
    threading.excepthook = lambda raised: errors.append(f"in a thread: {raised.exc_value!r}")
    started = time.monotonic()
    try:
        send(Load(**given, events=events), errors)
    except Exception as error:
        errors.append(repr(error))
    print(json.dumps({"sent": len(events), "errors": errors, "seconds": time.monotonic() - started}))


def send_as_segment(client: Any, load: Load) -> None:
    """Hand the load, and what is known of a user, to a client of Segment's, or of a fork of it."""
    client.identify(load.user_id, {"name": "Zoë ☕"})
    client.group(load.user_id, "group of users", {"plan": "größer"})
    client.alias("somebody", load.user_id)
    for event in load.events:
        rest = {"timestamp": event.moment, "message_id": event.event_id}
        if event.call == "track":
            client.track(event.user_id, event.event_type, event.properties, **rest)
        else:
            getattr(client, event.call)(event.user_id, None, "Startseite", event.properties, **rest)


def wait_until(done: Callable[[], bool]) -> bool:
    """Wait until something is so, as long as an application that goes on would; returns whether it is."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not done() and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return done()


class _Listener(logging.Handler):
    def __init__(self, errors: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        self._errors.append(f"{record.name}: {record.getMessage()}")

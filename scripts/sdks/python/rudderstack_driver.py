"""Drives rudder-sdk-python."""

from rudderstack.analytics.client import Client

from scripts.sdks.python.driving import Load, drive


def send(load: Load, errors: list[str]) -> None:
    """Send the load, and what is known of a user."""
    client = Client(load.key, host=load.url, on_error=lambda error, _items: errors.append(repr(error)))
    client.identify(load.user_id, {"name": "Zoë ☕"})
    client.group(load.user_id, "group of users", {"plan": "größer"})
    client.alias("somebody", load.user_id)
    for event in load.events:
        rest = {"timestamp": event.moment, "message_id": event.event_id}
        if event.call == "track":
            client.track(event.user_id, event.event_type, event.properties, **rest)
        else:
            getattr(client, event.call)(event.user_id, None, "Startseite", event.properties, **rest)
    client.flush()
    client.join()


drive(send)

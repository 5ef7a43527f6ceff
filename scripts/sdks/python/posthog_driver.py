"""Drives posthog, in the capture mode that the load names."""

from posthog import Posthog

from scripts.sdks.python.driving import Load, drive


def send(load: Load, errors: list[str]) -> None:
    """Send the load, and what is known of a user."""
    client = Posthog(
        load.key,
        host=load.url,
        on_error=lambda error, _items: errors.append(repr(error)),
        gzip=True,
        capture_mode=load.variant,
    )
    client.set(distinct_id=load.user_id, properties={"name": "Zoë ☕"})
    client.set_once(distinct_id=load.user_id, properties={"plan": "größer"})
    client.group_identify("company", "group of users", {"plan": "größer"})
    client.alias("somebody", load.user_id)
    for event in load.events:
        client.capture(
            event.event_type,
            distinct_id=event.user_id,
            properties=event.properties,
            timestamp=event.moment,
            uuid=event.event_id,
        )
    client.shutdown()


drive(send)

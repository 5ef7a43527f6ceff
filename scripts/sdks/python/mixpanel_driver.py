"""Drives mixpanel, by its plain consumer and by its buffered one."""

from collections.abc import Callable

from mixpanel import BufferedConsumer, Consumer, Mixpanel

from scripts.sdks.python.driving import Load, drive


def send(load: Load, errors: list[str]) -> None:
    """Send the load, and what is known of a user."""

    def call(what: Callable[..., None], *arguments: object) -> None:
        # The SDK raises what goes wrong, and an application goes on.
        try:
            what(*arguments)
        except Exception as error:
            errors.append(repr(error))

    urls = {
        "events_url": f"{load.url}/track",
        "people_url": f"{load.url}/engage",
        "groups_url": f"{load.url}/groups",
        "import_url": f"{load.url}/import",
    }
    buffered = BufferedConsumer(max_size=6, **urls)
    half = len(load.events) // 2
    plain = Consumer(**urls)
    call(Mixpanel(load.key, consumer=plain).people_set, load.user_id, {"name": "Zoë ☕"})
    call(Mixpanel(load.key, consumer=buffered).group_set, "company", "group of users", {"plan": load.user_id})
    for consumer, events in ((plain, load.events[:half]), (buffered, load.events[half:])):
        client = Mixpanel(load.key, consumer=consumer)
        for event in events:
            ids = {"time": event.moment.timestamp(), "$insert_id": event.event_id}
            call(client.track, event.user_id, event.event_type, {**event.properties, **ids})
    call(buffered.flush)


drive(send)

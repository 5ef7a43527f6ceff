"""Drives amplitude-analytics."""

from amplitude import Amplitude, BaseEvent, Config, EventOptions, Identify

from scripts.sdks.python.driving import Load, drive, wait_until


def send(load: Load, errors: list[str]) -> None:
    """Send the load, and what is known of a user."""
    told: list[int] = []

    def called_back(event: BaseEvent, code: int, message: str | None = None) -> None:
        told.append(code)
        if code != 200:
            errors.append(f"{event.event_type}: {code} {message}")

    client = Amplitude(load.key, Config(server_url=f"{load.url}/2/httpapi", callback=called_back, flush_queue_size=10))
    person = EventOptions(user_id=load.user_id)
    client.identify(Identify().set("name", "Zoë ☕"), person)
    client.group_identify("company", "group of users", Identify().set("plan", "größer"), person)
    for event in load.events:
        client.track(
            BaseEvent(
                event.event_type,
                user_id=event.user_id,
                time=round(event.moment.timestamp() * 1000),
                insert_id=event.event_id,
                event_properties=event.properties,
            )
        )
    client.flush()
    if not wait_until(lambda: len(told) >= len(load.events) + 2):
        errors.append(f"the callback was told of {len(told)} events of {len(load.events) + 2}")
    client.shutdown()


drive(send)

"""Drives segment-analytics-python."""

from segment.analytics.client import Client

from scripts.sdks.python.driving import Load, drive, send_as_segment


def send(load: Load, errors: list[str]) -> None:
    """Send the load, and what is known of a user."""
    client = Client(load.key, host=load.url, on_error=lambda error, _items: errors.append(repr(error)), gzip=True)
    send_as_segment(client, load)
    client.shutdown()


drive(send)

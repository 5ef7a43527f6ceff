"""Snowplow.

https://docs.snowplow.io/docs/events/ and https://docs.snowplow.io/docs/events/timestamps/
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from rollcall.core.events import InvalidEvent
from rollcall.core.strict_json import parse_part
from rollcall.intake.bodies import UnreadableBody
from rollcall.intake.dialects.dialect import (
    Answer,
    Dialect,
    Item,
    Outcome,
    Reading,
    Refusal,
    Sent,
    brings_credential,
    corrected,
    credential_in,
    decode_base64,
    event_id_of,
    first_of,
    from_epoch,
    json_answer,
    listed,
    pixel_answer,
    rfc_3339,
    skew_of,
    text_of,
)

_MILLISECOND = timedelta(milliseconds=1)
# What each kind of event is as an event type, and the fields that are its properties. The first two kinds have a type
# of their own.
_KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "se": ("", ("se_ca", "se_la", "se_pr", "se_va")),
    "ue": ("", ()),
    "pv": ("page_view", ("url", "page", "refr")),
    "pp": ("page_ping", ("url", "page", "refr", "pp_mix", "pp_max", "pp_miy", "pp_may")),
    "tr": ("transaction", tuple(f"tr_{name}" for name in ("id", "tt", "af", "tx", "sh", "ci", "st", "co", "cu"))),
    "ti": ("transaction_item", tuple(f"ti_{name}" for name in ("id", "sk", "nm", "ca", "pr", "qu", "cu"))),
}
_USERS = ("uid", "duid", "nuid", "tnuid")
_SESSION = "iglu:com.snowplowanalytics.snowplow/client_session/"
# After all others, trackers send the events again without an end.
_FINAL = (400, 401, 403)


class Snowplow(Dialect):
    """Events as fields of text: one in a query, or many as `data`. All answers are the same, so bad events are kept."""

    name = "snowplow"
    routes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "/com.snowplowanalytics.snowplow/tp2": ("POST",),
        "/i": ("GET",),
    }
    fields: ClassVar[Mapping[str, str]] = {
        "event_id": "eid",
        "occurred_at": "ttm or dtm",
        "user_id": "uid, duid, nuid or tnuid",
        "event_type": "se_ac or the schema",
    }

    def read(self, sent: Sent) -> Reading:
        """See `Dialect.read`. The key is the app id."""
        if sent.method == "GET":
            found: list[Any] = [sent.parameters]
        else:
            document = sent.document
            if not isinstance(document, dict):
                raise UnreadableBody("not_an_object", "the body has to be an object")
            found = listed(document.get("data"), "data")
        keyed, credential = brings_credential(sent), None
        items = []
        for each in found:
            if not isinstance(each, dict):
                items.append(Item(each, each))
                continue
            shown = {name: value for name, value in each.items() if name != "aid"}
            key = credential_in(each.get("aid"))
            if credential is None:
                credential = key
            if keyed or key is None or key == credential:
                raw = _raw(shown, sent)
            else:
                raw = InvalidEvent("other_key", "aid is not that of the first event")
            items.append(Item(shown, raw))
        return Reading(items, credential)

    def taken(self, sent: Sent, outcome: Outcome) -> Answer:  # noqa: ARG002
        """See `Dialect.taken`."""
        return pixel_answer() if sent.method == "GET" else _SUCCESS

    def refused(self, sent: Sent, refusal: Refusal) -> Answer:  # noqa: ARG002
        """See `Dialect.refused`. Where to send it again is pointless, the status is one after which trackers do not."""
        retried = refusal.status == 429 or refusal.status >= 500
        status = refusal.status if retried or refusal.status in _FINAL else 400
        return json_answer(status, {"code": refusal.code, "message": refusal.message})


_SUCCESS = json_answer(200, {"ok": True})


def _raw(item: dict[str, Any], sent: Sent) -> object:
    kind = item.get("e")
    if not isinstance(kind, str) or kind not in _KINDS:
        return InvalidEvent("invalid_type", f"e has to be one of {', '.join(_KINDS)}")
    event_type, names = _KINDS[kind]
    properties: object = {name: item[name] for name in names if item.get(name) is not None}
    true_time, time = item.get("ttm") or None, item.get("dtm") or None
    # Each time that an event is sent, it has another `stm`.
    content = {name: value for name, value in item.items() if name != "stm"}
    timed = true_time is not None or time is not None
    try:
        if kind == "ue":
            event_type, properties = _self_described(item)
        return {
            "event_id": event_id_of("snowplow", item.get("eid"), content, timed=timed, called="eid"),
            "occurred_at": _occurred_at(true_time, time, item.get("stm"), sent),
            "user_id": _user_of(item),
            "event_type": item.get("se_ac") if kind == "se" else event_type,
            "properties": properties,
        }
    except InvalidEvent as error:
        return error


def _self_described(item: dict[str, Any]) -> tuple[str, object]:
    """The name of the schema and the data of a self-describing event; raises `InvalidEvent`."""
    document = _document(item, "ue_px", "ue_pr")
    inner = document.get("data") if isinstance(document, dict) else None
    if isinstance(inner, InvalidEvent):
        raise inner
    schema = inner.get("schema") if isinstance(inner, dict) else None
    # iglu:vendor/name/format/version
    parts = schema.split("/") if isinstance(schema, str) else []
    if not isinstance(inner, dict) or len(parts) != 4 or not parts[0].startswith("iglu:"):
        raise InvalidEvent("invalid_schema", "the schema has to be iglu:vendor/name/format/version")
    return parts[1], inner.get("data")


def _document(item: dict[str, Any], encoded_name: str, name: str) -> object:
    """The JSON that an event has in one of two fields, in the first one as base64; raises `InvalidEvent`."""
    encoded, text = text_of(item.get(encoded_name)), text_of(item.get(name))
    if encoded:
        try:
            text = decode_base64(encoded).decode()
        except ValueError:
            raise InvalidEvent("invalid_base64", f"{encoded_name} is not base64 of text") from None
    if not text:
        raise InvalidEvent("missing_field", f"{encoded_name} and {name} are missing")
    document = parse_part(text, "invalid_json", f"{encoded_name} or {name}")
    if isinstance(document, InvalidEvent):
        raise document
    return document


def _user_of(item: dict[str, Any]) -> object:
    """The user; without one, the installation that the session of a mobile tracker names."""
    user_id = first_of(item, _USERS)
    if user_id is not None or not (item.get("cx") or item.get("co")):
        return user_id
    document = _document(item, "cx", "co")
    contexts = document.get("data") if isinstance(document, dict) else None
    for each in contexts if isinstance(contexts, list) else ():
        schema, data = (each.get("schema"), each.get("data")) if isinstance(each, dict) else (None, None)
        if isinstance(schema, str) and schema.startswith(_SESSION) and isinstance(data, dict):
            return data.get("userId")
    return None


def _occurred_at(true_time: object, time: object, sent_at: object, sent: Sent) -> object:
    """The true time as it is; else the time of the device, which tells by `stm` how wrong its clock is."""
    if true_time is not None:
        return from_epoch(true_time, _MILLISECOND)
    if time is None:
        return rfc_3339(sent.received)
    try:
        skew = skew_of(from_epoch(sent_at, _MILLISECOND), sent.received)
    except InvalidEvent:
        # Without a time of sending, or with one that is none, nothing is known of the clock.
        skew = timedelta()
    return corrected(from_epoch(time, _MILLISECOND), skew)

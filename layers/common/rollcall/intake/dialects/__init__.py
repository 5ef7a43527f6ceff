"""The dialects: what the SDKs of other services send, as events of this one.

A dialect is one file here with a class that derives from `rollcall.intake.dialects.dialect.Dialect`, and a row in
`rollcall.intake.dialects.registry`. It says four things.

*How it is recognised.* `routes` names its routes. Where several dialects share a route, `speaks` tells by the method
and the body whether a request is in this one. Content-Type tells nothing: SDKs send JSON and gzip under any.

*Where its key is.* The route looks into the headers first: X-API-Key, Bearer, the user name of Basic, X-Write-Key. A
dialect whose SDKs put the key into the body or the query gives it as `Reading.credential`.

*How its events map.* `read` makes an `Item` of each event that was sent: a raw event of the native form, which
`rollcall.core.events.parse_event` then checks like any other, or an `InvalidEvent` where none can be made. A body that
holds no list of events raises `UnreadableBody`. Whatever a dialect reads is bounded by what the native door takes.

*What it answers.* `taken` answers a request of which at least one event was taken, `refused` all others. `taken` gives,
besides, the places of the bad events that the answer names one by one. The route keeps all other bad events with their
reasons, so that none is dropped in silence. A dialect that sets `tells_retry` names the events that the queue did not
take. If it took none, or one of those has no name, and in any other dialect, the whole request is refused with 503, and
its SDK sends it again.
"""

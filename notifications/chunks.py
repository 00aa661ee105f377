"""Chunks of bulk jobs: one stream entry, many events, each of which has its own fate."""

from collections.abc import Iterable

import msgspec

from notifications import events
from notifications.events import Event
from notifications.exceptions import Invalid
from notifications.stream.group import Entry
from notifications.stream.reader import Spread


def events_in(entry: Entry) -> list[Event]:
    """The event of an entry; of a chunk, one for each of its recipients. Raises Invalid."""
    event = events.decode(entry.payload)
    recipients = entry.recipients
    return [event] if recipients is None else events.copies(event, recipients)


def spread(good: Iterable[tuple[Entry, Event]], failed: Iterable[tuple[Entry, Event | None]]) -> list[Spread]:
    """What becomes of chunks: of each, how many events are stored, and which go on as entries of their own."""
    # By identity: the hash of an entry would go through its payload.
    chunks: dict[int, Entry] = {}
    stored: dict[int, int] = {}
    left: dict[int, list[tuple[str, bytes]]] = {}
    for entry, event in failed:
        if entry.is_chunk and event is not None:
            chunks[id(entry)] = entry
            left.setdefault(id(entry), []).append((event.id, events.encode(event)))
    lost = {key: {event_id for event_id, _ in members} for key, members in left.items()}
    for entry, event in good:
        if entry.is_chunk:
            chunks[id(entry)] = entry
            stored[id(entry)] = stored.get(id(entry), 0) + (event.id not in lost.get(id(entry), ()))
    return [Spread(entry, stored.get(key, 0), left.get(key, [])) for key, entry in chunks.items()]


def apart(entry: Entry) -> Spread | None:
    """A chunk taken apart: each of its events goes on as an entry of its own. None where it cannot be read."""
    try:
        return Spread(entry, 0, [(event.id, events.encode(event)) for event in events_in(entry)])
    except Invalid:
        return None


def whole(entry: Entry) -> bytes:
    """What is kept of an entry whose event cannot be read: of a chunk, its recipients too."""
    if not entry.is_chunk:
        return entry.payload
    return msgspec.json.encode({"event": entry.payload.decode(errors="replace"), "to": entry.recipients})

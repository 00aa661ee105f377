"""A schedule as a form. The rules are those of the door, and each broken one stands at its field."""

import json
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import msgspec
from django import forms

from notifications.admin.fields import Text
from notifications.exceptions import FieldError, Invalid
from scheduler import recurrence
from scheduler import schedule as schedules
from scheduler.recurrence import BadRecurrence, Recurrence
from scheduler.schedule import Schedule

TEXTS: Final = ("recipient", "type", "title", "body")
WAYS: Final = (("at", "At"), ("delay", "After"), ("daily", "Daily at"), ("cron", "Cron"))
CATCH_UP: Final = (("once", "runs once for all of them"), ("all", "runs once for each"))
RECURRING: Final = frozenset({"daily", "cron"})

SKIPPED: Final = "must be a time that clocks show: this one is skipped there"


def _one_way(name: str, size: int, example: str, **attributes: str) -> forms.TextInput:
    """A field whose visible label is its radio button's, so that it has a name of its own."""
    return forms.TextInput(attrs={"aria-label": name, "size": size, "placeholder": example, **attributes})


class ScheduleForm(forms.Form):
    """An event and a time, field by field, as text."""

    recipient = Text(widget=forms.TextInput(attrs={"size": 60, "dir": "auto"}))
    type = Text(widget=forms.TextInput(attrs={"size": 60}))
    title = Text(widget=forms.TextInput(attrs={"size": 60, "dir": "auto"}))
    body = Text(widget=forms.Textarea(attrs={"rows": 4, "dir": "auto"}))
    when = forms.ChoiceField(choices=WAYS, widget=forms.RadioSelect)
    at = Text(widget=forms.TextInput(attrs={"type": "datetime-local", "step": 1, "aria-label": "Date and time"}))
    delay = Text(widget=_one_way("Seconds from now", 10, "3600", inputmode="decimal"), help_text="seconds")
    daily = Text(widget=_one_way("Time of day", 10, "08:00"), help_text="HH:MM")
    cron = Text(
        widget=_one_way("Cron expression", 30, "*/15 9-17 * * MON-FRI", spellcheck="false"),
        help_text="minute, hour, day of month, month, day of week",
    )
    timezone = Text(
        label="Time zone",
        widget=forms.TextInput(attrs={"size": 30, "list": "time-zones", "autocomplete": "off"}),
        help_text="An IANA name. Its clock tells the times above.",
    )
    catch_up = forms.ChoiceField(
        label="After a miss",
        choices=CATCH_UP,
        required=False,
        help_text="What daily and cron do when everything was down at several of their times.",
    )

    def __init__(self, typed: Any = None, known: Schedule | None = None) -> None:  # noqa: ANN401 - a QueryDict
        super().__init__(typed, initial=as_typed(known) if known else {"when": "at", "timezone": "UTC"})
        self.label_suffix = ""
        self.typed: dict[str, Any] = {}
        # Not among those above, where it would hide the form's own `data`.
        json_text = forms.Textarea(attrs={"rows": 6, "spellcheck": "false"})
        self.fields["data"] = Text(widget=json_text, help_text="A JSON object.")
        if known:
            # Its id belongs to the recipient: it tells the inbox' shard.
            self.fields["recipient"].disabled = True
            self.fields["recipient"].help_text = "Cannot change: cancel this schedule and make another."

    def clean(self) -> None:
        """`at` in a zone is the form's own: the door takes instants."""
        # Django takes away what has an error; the door is to judge all of it.
        self.typed = typed = dict(self.cleaned_data)
        zone = _zone(typed["timezone"])
        if zone is None and typed.get("when") != "delay":
            self.add_error("timezone", f"/timezone {recurrence.TIMEZONE_RULE}")
        local = _time(typed["at"]) if typed.get("when") == "at" else None
        if zone and local and local.tzinfo is None and _is_skipped(local, zone):
            self.add_error("at", f"/at {SKIPPED}")

    def document(self) -> bytes:
        """What was typed, as the JSON that a producer would send."""
        return msgspec.json.encode({**self._content(), **_timing(self.typed)})

    def change(self, known: Schedule) -> bytes:
        """The same as a change of a schedule; a time that is as it was is left as it is, overdue for one."""
        timing = _timing(self.typed)
        same = timing == _timing(as_typed(known))
        whole = {**self._content(), **({} if same else timing), "revision": known.revision}
        return msgspec.json.encode(whole)

    def judged(self, judge: Callable[[], Schedule]) -> Schedule | None:
        """What `judge` makes of it; None where that breaks rules, each of which stands at its field then."""
        try:
            would_be = judge()
        except Invalid as invalid:
            self.mark(invalid.errors)
            return None
        return None if self.errors else would_be

    def mark(self, errors: list[FieldError]) -> None:
        """Put each broken rule at the field that its pointer names."""
        for error in errors:
            name = error.pointer.strip("/").partition("/")[0]
            field, sentence = name if name in self.fields else None, f"{error.pointer or '/'} {error.detail}"
            if sentence not in self.errors.get(field or "", []):
                self.add_error(field, sentence)

    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = {name: self.typed[name] for name in TEXTS}
        # A browser sends every line's end as two characters, whatever it was.
        content["body"] = content["body"].replace("\r\n", "\n")
        data = self.typed["data"].strip() or "{}"
        try:
            # As it is written: the rules are to judge the very same bytes.
            content["data"] = msgspec.json.decode(data, type=msgspec.Raw)
        except (msgspec.MsgspecError, RecursionError):
            # A text is no object: the door says so, and what else is wrong.
            content["data"] = data
        return content


def as_typed(known: Schedule) -> dict[str, str]:
    """A schedule as it would be typed."""
    event, about = known.event, known.about
    typed = {name: getattr(event, name) for name in TEXTS}
    typed |= {"data": pretty(bytes(event.data)), "catch_up": about.catch_up, "timezone": "UTC"}
    if rule := about.recurrence:
        way = "daily" if rule.daily else "cron"
        return {**typed, "when": way, way: getattr(rule, way) or "", "timezone": rule.timezone}
    at = schedules.moment(about.at_ms or 0).replace(tzinfo=None)
    return {**typed, "when": "at", "at": at.isoformat(timespec="seconds")}


def pretty(document: bytes) -> str:
    """JSON for reading."""
    return json.dumps(json.loads(document), indent=2, ensure_ascii=False)


@cache
def zone_names() -> list[str]:
    """The time zones to choose from."""
    return sorted(zoneinfo.available_timezones() - recurrence.NOT_ZONES)


def _timing(typed: Mapping[str, str]) -> dict[str, Any]:
    """The fields that say when, of those that were typed."""
    # None of these ways is an error by itself, and needs no second one.
    way, zone = typed.get("when", "delay"), typed["timezone"].strip() or "UTC"
    if way == "at":
        return {"at": _instant(typed.get("at", ""), _zone(zone))}
    if way == "delay":
        return {"delay": _number(typed["delay"]) if "when" in typed else 0}
    return {way: typed[way].strip(), "timezone": zone, "catch_up": typed.get("catch_up") or "once"}


def _instant(text: str, zone: zoneinfo.ZoneInfo | None) -> str:
    """A time as the door takes it; one that has no offset is told by the zone's clock. What is none stays as it is."""
    when = _time(text)
    if when is None:
        return text
    try:
        return (when if when.tzinfo else when.replace(tzinfo=zone or UTC)).astimezone(UTC).isoformat()
    except OverflowError:
        return text


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def _number(text: str) -> float | str:
    try:
        return msgspec.json.decode(text.strip(), type=int | float)
    except msgspec.MsgspecError:
        return text


def _zone(name: str) -> zoneinfo.ZoneInfo | None:
    """A zone by its name; none by another name ever reaches the file system."""
    name = name.strip() or "UTC"
    try:
        recurrence.check(Recurrence(daily="00:00", timezone=name))
    except BadRecurrence:
        return None
    return zoneinfo.ZoneInfo(name)


def _is_skipped(local: datetime, zone: zoneinfo.ZoneInfo) -> bool:
    try:
        shown = local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)
    except OverflowError:
        return False
    return shown.replace(tzinfo=None) != local

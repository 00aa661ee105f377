"""A dead letter's event as a form. The rules are those of the door, and each broken one stands at its field."""

import json
from typing import Any, Final

import msgspec
from django import forms

from dlq.models import DeadLetter
from notifications import events, intake
from notifications.admin.fields import Text
from notifications.exceptions import FieldError, Invalid

FIELDS: Final = ("recipient", "type", "title", "body", "data")
TEXTS: Final = FIELDS[:-1]


def typed_before(letter: DeadLetter) -> dict[str, str]:
    """The form's first content: what can be read of the payload, field by field."""
    try:
        # Python's own parser reads more than JSON allows, and here the more is read the better.
        fields = json.loads(bytes(letter.payload))
    except (ValueError, RecursionError):
        fields = {}
    if not isinstance(fields, dict):
        fields = {}
    typed = {name: value for name in TEXTS if isinstance(value := fields.get(name), str)}
    typed["data"] = pretty(fields.get("data", {}))
    if letter.recipient:
        typed["recipient"] = letter.recipient
    return {name: text.encode(errors="replace").decode() for name, text in typed.items()}


def pretty(value: object) -> str:
    """JSON for reading; on one line where it nests too deep for anything else."""
    try:
        return json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError:
        return json.dumps(value, ensure_ascii=False)


def readable(stored: bytes | memoryview) -> str:
    """A payload for reading: as JSON where it is some, else as text, with a sign for each byte that is none."""
    payload = bytes(stored)
    try:
        text = pretty(json.loads(payload))
    except (ValueError, RecursionError):
        text = payload.decode(errors="replace")
    return text.encode(errors="replace").decode()


def _broken_rules(typed: dict[str, str]) -> list[FieldError]:
    try:
        intake.parse(msgspec.json.encode(typed))
    except Invalid as invalid:
        return invalid.errors
    return []


class EventForm(forms.Form):
    """An event, field by field, as text."""

    recipient = Text(widget=forms.TextInput(attrs={"size": 60, "dir": "auto"}))
    type = Text(widget=forms.TextInput(attrs={"size": 60}))
    title = Text(widget=forms.TextInput(attrs={"size": 60, "dir": "auto"}))
    body = Text(widget=forms.Textarea(attrs={"rows": 5, "dir": "auto"}))

    def __init__(self, letter: DeadLetter, typed: Any = None) -> None:  # noqa: ANN401 - a QueryDict, or nothing
        super().__init__(typed, initial=typed_before(letter))
        self.label_suffix = ""
        # Not among those above, where it would hide the form's own `data`.
        json_text = forms.Textarea(attrs={"rows": 14, "spellcheck": "false"})
        self.fields["data"] = Text(widget=json_text, help_text="A JSON object.")
        recipient = self.fields["recipient"]
        # Its id belongs to the recipient: it tells the inbox' shard.
        recipient.disabled = bool(letter.recipient)
        recipient.help_text = "Cannot change: the event's id belongs to it." if letter.recipient else ""

    def document(self) -> bytes:
        """What was typed, as the JSON that a producer would send. Raises Invalid where `data` is no JSON."""
        typed: dict[str, Any] = {name: self.cleaned_data[name] for name in TEXTS}
        # A browser sends every line's end as two characters, whatever it was.
        typed["body"] = typed["body"].replace("\r\n", "\n")
        try:
            # As it is written: the rules are to judge the very same bytes.
            typed["data"] = msgspec.json.decode(self.cleaned_data["data"].strip() or "{}", type=msgspec.Raw)
        except (msgspec.MsgspecError, RecursionError):
            raise Invalid([*_broken_rules(typed), FieldError("/data", events.NOT_JSON)]) from None
        return msgspec.json.encode(typed)

    def mark(self, errors: list[FieldError]) -> None:
        """Put each broken rule at the field that its pointer names."""
        for error in errors:
            name = error.pointer.strip("/").partition("/")[0]
            self.add_error(name if name in self.fields else None, f"{error.pointer or '/'} {error.detail}")

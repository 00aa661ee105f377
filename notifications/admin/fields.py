"""Form fields of every admin page on which an event is typed."""

from typing import Any

from django import forms


class Text(forms.CharField):
    """What was typed, as it was typed: an event's own rules judge it, and in their own words."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - a field's
        super().__init__(required=False, strip=False, **options)
        # Django's own refusal of NUL.
        self.validators.clear()

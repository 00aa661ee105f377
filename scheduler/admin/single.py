"""One schedule: its page, and what can be done to it but editing."""
# ruff: noqa: ARG002 - Django's signatures

from typing import Any
from uuid import UUID

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from redis.exceptions import RedisError

from notifications import events, lookup
from notifications.exceptions import IdempotencyConflict
from notifications.models import Notification
from scheduler import door
from scheduler.admin import words
from scheduler.admin.editing import pretty
from scheduler.admin.listing import AS_RECORDED
from scheduler.admin.pages import (
    ONE,
    SchedulePages,
    find,
    log,
    new_token,
    once_of,
    refuse_unless,
    to,
    warn,
)
from scheduler.exceptions import Conflict, Unknown
from scheduler.models import Schedule as Row
from scheduler.schedule import Schedule

USED: Final = "Nothing was done: this form was used for something else before. Look at the schedule, and press again."

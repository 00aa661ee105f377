"""`manage.py provision`: makes sure of an administrator and an API key, however often it is run."""

import os

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from notifications.access import keys
from notifications.access.principal import SCOPES

KEY_NAME = "first key"


class Command(BaseCommand):
    """Make sure of what NOTIFY_ADMIN_USER, NOTIFY_ADMIN_PASSWORD and NOTIFY_API_KEY name; `up` runs it."""

    help = "Make sure that the administrator and the API key named in the environment exist."
    requires_system_checks = []

    def handle(self, *_: str, **__: object) -> None:
        ensure_administrator(_required("NOTIFY_ADMIN_USER"), _required("NOTIFY_ADMIN_PASSWORD"))
        keys.adopt(_required("NOTIFY_API_KEY"), KEY_NAME, SCOPES)


def ensure_administrator(name: str, password: str) -> None:
    """A superuser of that name, who can sign in with that password."""
    user, _ = get_user_model().objects.get_or_create(username=name)
    if user.is_active and user.is_staff and user.is_superuser and user.check_password(password):
        return  # a new hash of the same password would sign every session out
    user.is_active = user.is_staff = user.is_superuser = True
    user.set_password(password)
    user.save()


def _required(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise CommandError(f"{name} is not set") from None

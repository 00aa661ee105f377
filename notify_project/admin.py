"""Users and groups in the admin, which are Django's own but for one thing."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from notifications.admin.inboxes import Discreet

admin.site.unregister([User, Group])


@admin.register(User)
class Users(Discreet, UserAdmin):  # type: ignore[type-arg]  # Django's class takes none when it runs
    """Who may sign in."""


@admin.register(Group)
class Groups(Discreet, GroupAdmin):
    """Permissions that several have."""

"""What a caller may do, for DRF: one scope a view, or the recipient's own inbox, or what is for people alone."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from notifications.access.principal import Principal, Scope


def scope(needed: Scope) -> type[BasePermission]:
    """A permission that takes callers with a scope."""

    class HasScope(BasePermission):
        message = f"This needs the scope '{needed}'."

        def has_permission(self, request: Request, view: Any) -> bool:  # noqa: ANN401, ARG002 - DRF's signature
            caller: object = request.auth
            return isinstance(caller, Principal) and caller.may(needed)

    return HasScope


def scope_or_recipient(needed: Scope) -> type[BasePermission]:
    """A permission that takes callers with a scope, and the recipient where the path names one."""

    class HasScopeOrIsRecipient(BasePermission):
        message = f"This needs the scope '{needed}', or a token of this very recipient."

        def has_permission(self, request: Request, view: Any) -> bool:  # noqa: ANN401 - DRF's signature
            caller: object = request.auth
            if not isinstance(caller, Principal):
                return False
            if caller.may(needed):
                return True
            named = view.kwargs.get("recipient")
            return caller.recipient is not None and (named is None or caller.owns(named))

    return HasScopeOrIsRecipient


class IsStaff(BasePermission):
    """A permission that takes members of staff in a session, and no program, whatever its key may do."""

    message = "This is the dashboard's own, and changes with it. Programs ask under /api/."

    def has_permission(self, request: Request, view: Any) -> bool:  # noqa: ANN401, ARG002 - DRF's signature
        caller: object = request.auth
        return isinstance(caller, Principal) and caller.staff

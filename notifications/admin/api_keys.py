"""API keys in Django's admin: made, changed and revoked here."""
# ruff: noqa: ARG002 - Django's signatures

from typing import TYPE_CHECKING, Any, Final

import structlog
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from redis.exceptions import RedisError

from notifications.access import keys
from notifications.access.principal import SCOPES
from notifications.admin.inboxes import Discreet
from notifications.models import ApiKey

log = structlog.get_logger("notify.admin")

if TYPE_CHECKING:
    # Django's classes take type parameters for the type checker only.
    ApiKeyBase = admin.ModelAdmin[ApiKey]
    ApiKeyFormBase = forms.ModelForm[ApiKey]
else:
    ApiKeyBase = admin.ModelAdmin
    ApiKeyFormBase = forms.ModelForm

OUTAGE: Final = "Redis does not answer, so nothing was changed. Try again when it does."


class ApiKeyForm(ApiKeyFormBase):
    """What may be said of a key."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES],
        widget=forms.CheckboxSelectMultiple,
        initial=list(SCOPES),
        help_text="What it may do.",
    )
    rate = forms.RegexField(
        regex=rf"\A(?:{keys.RATE.pattern})\Z",
        initial="1000/s",
        help_text="Events it may send, such as 1000/s or 20/m.",
        error_messages={"invalid": f"The rate {keys.RATE_RULE}."},
    )

    class Meta:
        model = ApiKey
        fields = ["name", "scopes", "rate"]

    def clean_scopes(self) -> list[str]:
        """In the order in which a key is made with them."""
        return sorted(self.cleaned_data["scopes"])


class StateFilter(admin.SimpleListFilter):
    """Active keys or revoked ones."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        """The choices."""
        return [("active", "active"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The keys of the state that was chosen."""
        if self.value() is None:
            return queryset
        return queryset.filter(revoked_at__isnull=self.value() == "active")


@admin.register(ApiKey)
class ApiKeyAdmin(Discreet, ApiKeyBase):
    """Keys are made, changed and revoked; never deleted, so that what one did can be told for ever."""

    form = ApiKeyForm
    list_display = ["name", "begins_with", "may", "rate", "created_at", "active"]
    list_filter = [StateFilter]
    search_fields = ["name", "prefix"]
    actions = ["revoke"]

    class Media:
        css = {"all": ["notify/admin.css"]}

    @admin.display(description="begins with")
    def begins_with(self, key: ApiKey) -> SafeString:
        """What a key is recognised by."""
        return format_html("<code>{}…</code>", key.prefix)

    @admin.display(description="scopes")
    def may(self, key: ApiKey) -> str:
        """What it may do."""
        return ", ".join(key.scopes)

    @admin.display(boolean=True)
    def active(self, key: ApiKey) -> bool:
        """Whether it works."""
        return key.revoked_at is None

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:  # noqa: ANN401
        """A new key has nothing to show yet."""
        shown = ["begins_with", "created_at", "revoked_at"] if obj else []
        return [*ApiKeyForm.Meta.fields, *shown]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        """What nobody changes by hand."""
        return ["begins_with", "created_at", "revoked_at"]

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """A revoked key stays as it is."""
        return super().has_change_permission(request, obj) and (obj is None or obj.revoked_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Never: see `revoke`."""
        return False

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - as in django-stubs
        """Add or change a key; without Redis the transaction is rolled back, and told so."""
        alone = {"show_save_and_add_another": False, "show_save_and_continue": object_id is not None}
        try:
            return super().changeform_view(request, object_id, form_url, alone | (extra_context or {}))
        except RedisError as error:
            log.warning("admin.unavailable", error=repr(error))
            self.message_user(request, OUTAGE, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:  # noqa: ANN401, FBT001
        """Inside the transaction, PostgreSQL first and Redis last: where Redis fails, nothing has happened.

        A commit that fails after it leaves Redis ahead, until the key is saved again: the price for never being
        the other way round, where a scope that was taken away would still be honoured.
        """
        if not change:
            made, secret = keys.create(obj.name, obj.scopes, obj.rate)
            obj.pk, obj.prefix, obj.created_at = made.pk, made.prefix, made.created_at
            obj.secret = secret  # type: ignore[attr-defined] # on this object alone, for response_add
            return
        # Under the row's lock: a revocation at the same time is either seen here, or waits and has the last word.
        obj.revoked_at = ApiKey.objects.select_for_update().get(pk=obj.pk).revoked_at
        obj.save(update_fields=ApiKeyForm.Meta.fields)
        keys.mirror(obj)

    def response_add(
        self,
        request: HttpRequest,
        obj: ApiKey,
        post_url_continue: str | None = None,
    ) -> HttpResponse:
        """Show the key, once: in this answer, which no cache keeps. A message would pass through a cookie."""
        return self._page(
            request,
            "created.html",
            title="The new API key",
            key=obj,
            secret=obj.secret,  # type: ignore[attr-defined]
        )

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        """Ask first; then end the keys, at once and for good."""
        active = list(queryset.filter(revoked_at=None))
        if not active:
            self.message_user(request, "Nothing to do: revoked already.", messages.WARNING)
            return None
        if "confirmed" not in request.POST:
            return self._page(request, "revoke.html", title="Revoke?", keys=active, checkbox=ACTION_CHECKBOX_NAME)
        for key in active:
            self._revoke_one(request, key)
        return None

    def _revoke_one(self, request: HttpRequest, key: ApiKey) -> None:
        try:
            keys.revoke(key)
        except RedisError as error:
            log.warning("admin.unavailable", error=repr(error))
            key.refresh_from_db()
            if key.revoked_at is None:
                self.message_user(request, f"{key} is still active: Redis does not answer. Try again.", messages.ERROR)
                return
        log.info("api_key.revoked", key_id=key.pk, user_id=request.user.pk)
        self.log_change(request, key, "Revoked.")
        self.message_user(request, f"{key} is revoked.", messages.SUCCESS)

    def _page(self, request: HttpRequest, template: str, **context: object) -> TemplateResponse:
        context |= {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/notifications/apikey/{template}", context)

"""What pages of our own in the admin share: their frame, an answer in an outage, a word with whoever asked."""

from collections.abc import Callable
from typing import Any, ClassVar

import structlog
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse

from notifications.admin.inboxes import AnyModelAdmin

log = structlog.get_logger("notify.admin")

View = Callable[..., HttpResponse]


class OwnPages(AnyModelAdmin):
    """A model's pages that Django's admin does not make: each view goes through `wrap`, each answer through `page`.

    `templates` is the folder of its templates. Any of `outages` in a view is answered by a page that needs no server.
    """

    templates: ClassVar[str]
    outages: ClassVar[tuple[type[Exception], ...]] = ()

    def wrap(self, view: View) -> View:
        """A view of the admin, which answers in an outage, too."""
        guarded: View = self.admin_site.admin_view(view)

        def answer(request: HttpRequest, *arguments: object, **named: object) -> HttpResponse:
            try:
                return guarded(request, *arguments, **named)
            except self.outages as error:
                return _not_now(request, self.in_words(request, error))

        return answer

    def page(self, request: HttpRequest, template: str, **context: object) -> TemplateResponse:
        """A page of these, in the admin's frame. `title` is among the context."""
        context |= {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"{self.templates}/{template}", context)

    def in_words(self, request: HttpRequest, error: Exception) -> str:
        """An outage, for whoever meets it."""
        raise NotImplementedError


def refuse_unless(allowed: bool) -> None:  # noqa: FBT001 - reads as a sentence
    """Raises PermissionDenied (403)."""
    if not allowed:
        raise PermissionDenied


def name_of(request: HttpRequest) -> str:
    """Who is signed in."""
    user: Any = request.user
    name: str = user.get_username()
    return name


def warn(request: HttpRequest, sentence: object) -> None:
    """Say why something was not done."""
    messages.warning(request, str(sentence))


def _not_now(request: HttpRequest, sentence: str) -> HttpResponse:
    """What was typed goes along, to be sent again."""
    typed = [
        (name, value) for name, values in request.POST.lists() for value in values if name != "csrfmiddlewaretoken"
    ]
    context = {"sentence": sentence, "posted": request.method == "POST", "typed": typed}
    return render(request, "admin/outage.html", context, status=503)

"""An operator at the bulk jobs' pages, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test import Client

from bulk.models import BulkJob
from bulk.tests.helpers import unreachable
from notifications import wiring

look_only = pytest.mark.one_shard_is_enough

JOBS = "/admin/bulk/bulkjob/"


def signed_in(name: str) -> Client:
    """A superuser's browser."""
    browser = Client()
    browser.force_login(User.objects.create_superuser(name))
    return browser


def allowed_to(*actions: str) -> Client:
    """The browser of somebody who may do so much with bulk jobs, and no more: `view`, `change`."""
    user = User.objects.create_user("-".join(("eve", *actions)), is_staff=True)
    names = [f"{action}_bulkjob" for action in actions]
    user.user_permissions.set(Permission.objects.filter(codename__in=names, content_type__app_label="bulk"))
    browser = Client()
    browser.force_login(user)
    return browser


def page_of(job: BulkJob, name: str = "change") -> str:
    """The address of one of a job's pages."""
    return f"{JOBS}{job.pk}/{name}/"


def shown(browser: Client, address: str, status: int = 200) -> str:
    """A page's HTML."""
    answer = browser.get(address)
    assert answer.status_code == status, address
    return answer.content.decode()


def post(browser: Client, job: BulkJob, name: str, **fields: str) -> Any:
    """Press a button of a job; the page to which that leads."""
    return browser.post(page_of(job, name), fields, follow=True)


def said(answer: Any) -> list[str]:
    """The messages of an answer."""
    return [str(message) for message in answer.context["messages"]]


def listed(browser: Client, query: str = "") -> list[str]:
    """The titles in the list, in its order."""
    return [row.title for row in browser.get(JOBS + query).context["cl"].result_list]


def buttons(browser: Client, job: BulkJob) -> set[str]:
    """Which orders a job's page offers just now."""
    deeds = browser.get(page_of(job)).context["deeds"]
    return {name for name, deed in deeds.items() if deed["now"]}


@contextmanager
def redis_is_away() -> Iterator[None]:
    """Nobody answers at Redis' address."""
    nowhere = unreachable()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(wiring, "fanout", lambda: nowhere)
        yield


@contextmanager
def postgresql_is_away() -> Iterator[None]:
    """No statement reaches PostgreSQL."""

    def fail(*_: object) -> None:
        raise OperationalError("the server is away")

    with connection.execute_wrapper(fail):
        yield

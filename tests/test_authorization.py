"""Who may call what: every route against everybody who may knock.

A route without a row fails the first test, so that none comes to be which nobody thought about.
"""

import re
import uuid
from typing import Any, Final

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import resolve

from tests.authorization import Callers, World, call, routes

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.one_shard_is_enough,
    # Of a token that nobody here would make.
    pytest.mark.filterwarnings("ignore:The HMAC key"),
]

# `unknown` stands for all of authorization.unknown_credentials; `own` and `other` are tokens of alice and of bob;
# `staff` is a session of somebody with no permission in the admin, `forged` the same without its CSRF token.
API: Final = """
                                               nobody unknown send read manage  own other  staff forged visitor inactive
POST   /api/notify                                401   401   202   403   403   403   403   202   403   403   401
POST   /api/notify/batch                          401   401   202   403   403   403   403   202   403   403   401
GET    /api/notifications?recipient=alice         401   401   403   200   403   200   403   200   200   403   401
GET    /api/notifications/{notification}          401   401   403   200   403   200   404   200   200   403   401
GET    /api/notifications/{absent}                401   401   403   404   403   404   404   404   404   403   401
GET    /api/recipients/alice/unread               401   401   403   200   403   200   403   200   200   403   401
POST   /api/recipients/alice/read                 401   401   403   403   200   200   403   200   403   403   401
POST   /api/recipients/alice/token                401   401   200   403   403   403   403   200   403   403   401
GET    /api/schedule                              401   401   403   200   403   403   403   200   200   403   401
POST   /api/schedule                              401   401   201   403   403   403   403   201   403   403   401
GET    /api/schedule/{schedule}                   401   401   403   200   403   403   403   200   200   403   401
PATCH  /api/schedule/{schedule}                   401   401   403   403   200   403   403   200   403   403   401
DELETE /api/schedule/{schedule}                   401   401   403   403   204   403   403   204   403   403   401
POST   /api/schedule/{schedule}/run               401   401   403   403   202   403   403   202   403   403   401
GET    /api/bulk                                  401   401   403   200   403   403   403   200   200   403   401
POST   /api/bulk                                  401   401   202   403   403   403   403   202   403   403   401
GET    /api/bulk/{job}                            401   401   403   200   403   403   403   200   200   403   401
PATCH  /api/bulk/{job}                            401   401   403   403   200   403   403   200   403   403   401
POST   /api/bulk/{job}/pause                      401   401   403   403   200   403   403   200   403   403   401
POST   /api/bulk/{paused}/resume                  401   401   403   403   200   403   403   200   403   403   401
POST   /api/bulk/{job}/cancel                     401   401   403   403   200   403   403   200   403   403   401
GET    /api/dlq                                   401   401   403   200   403   403   403   200   200   403   401
POST   /api/dlq/replay                            401   401   403   403   202   403   403   202   403   403   401
GET    /api/dlq/{letter}                          401   401   403   200   403   403   403   200   200   403   401
DELETE /api/dlq/{letter}                          401   401   403   403   204   403   403   204   403   403   401
POST   /api/dlq/{letter}/replay                   401   401   403   403   202   403   403   202   403   403   401
DELETE /api/recipients/alice                      401   401   403   403   200   403   403   200   403   403   401
GET    /api/recipients/alice/export               401   401   403   403   200   403   403   200   200   403   401
GET    /api/stats                                 401   401   403   200   403   403   403   200   200   403   401
GET    /api/schema/                               200   200   200   200   200   200   200   200   200   200   200
GET    /api/docs/                                 200   200   200   200   200   200   200   200   200   200   200
GET    /api/nothing                               404   404   404   404   404   404   404   404   404   404   404
POST   /api/nothing                               404   404   404   404   404   404   404   404   404   404   404
GET    /dashboard/history                         401   401   403   403   403   403   403   200   200   403   401
GET    /dashboard/lives/{notification}            401   401   403   403   403   403   403   200   200   403   401
GET    /dashboard/search?q=alice                  401   401   403   403   403   403   403   200   200   403   401
GET    /dashboard/letters                         401   401   403   403   403   403   403   200   200   403   401
GET    /dashboard/letters/replays                 401   401   403   403   403   403   403   200   200   403   401
GET    /dashboard/letters/replays/{order}         401   401   403   403   403   403   403   200   200   403   401
GET    /                                          302   302   302   302   302   302   302   200   200   403   302
GET    /lives/                                    302   302   302   302   302   302   302   200   200   403   302
GET    /inbox/                                    302   302   302   302   302   302   302   200   200   403   302
GET    /dead-letters/                             302   302   302   302   302   302   302   200   200   403   302
GET    /processes/                                302   302   302   302   302   302   302   200   200   403   302
GET    /healthz                                   200   200   200   200   200   200   200   200   200   200   200
GET    /readyz                                    200   200   200   200   200   200   200   200   200   200   200
GET    /metrics                                   200   200   200   200   200   200   200   200   200   200   200
GET    /admin                                     302   302   302   302   302   302   302   302   302   302   302
GET    /admin/login/                              200   200   200   200   200   200   200   302   302   200   200
"""


# `guest` stands for everybody without a session of staff, `clerk` is staff without any permission, `root` a superuser.
# A 302 leads a guest to the sign-in, and the others to the list.
ADMIN: Final = """
                                                  guest       clerk        root
                                                    get  post   get  post   get  post
/admin/                                             302   302   200   200   200   200
/admin/login/                                       200   200   302   200   302   200
/admin/logout/                                      302   302   405   200   405   200
/admin/password_change/                             302   302   200   200   200   200
/admin/password_change/done/                        302   302   200   405   200   405
/admin/autocomplete/                                302   302   403   405   403   405
/admin/jsi18n/                                      302   302   200   405   200   405
/admin/r/{type}/{user}/                             302   302   404   404   404   404
/admin/auth/group/                                  302   302   403   403   200   200
/admin/auth/group/add/                              302   302   403   403   200   200
/admin/auth/group/{group}/history/                  302   302   403   403   200   200
/admin/auth/group/{group}/delete/                   302   302   403   403   200   200
/admin/auth/group/{group}/change/                   302   302   403   403   200   200
/admin/auth/group/{group}/                          302   302   302   302   302   302
/admin/auth/user/{user}/password/                   302   302   403   403   200   200
/admin/auth/user/                                   302   302   403   403   200   200
/admin/auth/user/add/                               302   302   403   403   200   200
/admin/auth/user/{user}/history/                    302   302   403   403   200   200
/admin/auth/user/{user}/delete/                     302   302   403   403   200   200
/admin/auth/user/{user}/change/                     302   302   403   403   200   200
/admin/auth/user/{user}/                            302   302   302   302   302   302
/admin/notifications/apikey/                        302   302   403   403   200   200
/admin/notifications/apikey/add/                    302   302   403   403   200   200
/admin/notifications/apikey/{key}/history/          302   302   403   403   200   200
/admin/notifications/apikey/{key}/delete/           302   302   403   403   403   403
/admin/notifications/apikey/{key}/change/           302   302   403   403   200   200
/admin/notifications/apikey/{key}/                  302   302   302   302   302   302
/admin/notifications/notification/                  302   302   403   403   200   200
/admin/notifications/notification/add/              302   302   403   403   403   403
/admin/notifications/notification/{row}/history/    302   302   403   403   200   200
/admin/notifications/notification/{row}/delete/     302   302   403   403   403   403
/admin/notifications/notification/{row}/change/     302   302   403   403   200   403
/admin/notifications/notification/{row}/            302   302   302   302   302   302
/admin/notifications/inbox/                         302   302   403   403   200   200
/admin/notifications/inbox/add/                     302   302   403   403   403   403
/admin/notifications/inbox/{inbox}/history/           302   302   403   403   200   200
/admin/notifications/inbox/{inbox}/delete/            302   302   403   403   403   403
/admin/notifications/inbox/{inbox}/change/            302   302   403   403   200   403
/admin/notifications/inbox/{inbox}/                   302   302   302   302   302   302
/admin/scheduler/schedule/                          302   302   403   403   200   200
/admin/scheduler/schedule/add/                      302   302   403   403   200   400
/admin/scheduler/schedule/{schedule}/change/        302   302   403   403   200   405
/admin/scheduler/schedule/{schedule}/edit/          302   302   403   403   200   400
/admin/scheduler/schedule/{schedule}/cancel/        302   302   403   403   200   302
/admin/scheduler/schedule/{schedule}/run/           302   302   403   403   405   400
/admin/bulk/bulkjob/                                302   302   403   403   200   200
/admin/bulk/bulkjob/{job}/change/                   302   302   403   403   200   405
/admin/bulk/bulkjob/{job}/pause/                    302   302   403   403   405   302
/admin/bulk/bulkjob/{job}/resume/                   302   302   403   403   405   302
/admin/bulk/bulkjob/{job}/rate/                     302   302   403   403   405   302
/admin/bulk/bulkjob/{job}/cancel/                   302   302   403   403   200   302
/admin/dlq/deadletter/replay/                       302   302   403   403   302   400
/admin/dlq/deadletter/canary/                       302   302   403   403   400   405
/admin/dlq/deadletter/discard/                      302   302   403   403   405   400
/admin/dlq/deadletter/{letter}/replay/              302   302   403   403   405   400
/admin/dlq/deadletter/{letter}/edit/                302   302   403   403   200   400
/admin/dlq/deadletter/                              302   302   403   403   200   200
/admin/dlq/deadletter/add/                          302   302   403   403   403   403
/admin/dlq/deadletter/{letter}/history/             302   302   403   403   200   200
/admin/dlq/deadletter/{letter}/delete/              302   302   403   403   403   403
/admin/dlq/deadletter/{letter}/change/              302   302   403   403   200   403
/admin/dlq/deadletter/{letter}/                     302   302   302   302   302   302
/admin/dlq/replay/                                  302   302   403   403   200   200
/admin/dlq/replay/add/                              302   302   403   403   403   403
/admin/dlq/replay/{order}/history/                  302   302   403   403   200   200
/admin/dlq/replay/{order}/delete/                   302   302   403   403   403   403
/admin/dlq/replay/{order}/change/                   302   302   403   403   200   403
/admin/dlq/replay/{order}/                          302   302   302   302   302   302
/admin/dlq/                                         302   302   404   404   200   200
/admin/nothing                                      302   302   404   404   404   404
"""


SIGN_IN: Final = "/admin/login/"
SIGN_OUT: Final = "/admin/logout/"
KNOCKING: Final = ("nobody", "manage", "own", "visitor", "inactive")
METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
NAMES: Final = re.compile(r"\{\w+\}")
NUMBERED: Final = re.compile(r"\{(user|group|key|type)\}")


def rows(table: str) -> list[tuple[str, str, dict[str, int]]]:
    """A table's rows: the method, the address, and the status that each column is answered."""
    head, *lines = [line.split() for line in table.strip().splitlines()]
    return [(method, pattern, dict(zip(head, map(int, cells), strict=True))) for method, pattern, *cells in lines]


def admin_rows() -> list[tuple[str, list[int]]]:
    """An address of the admin, and what guest, clerk and root are answered to a GET and a POST each."""
    lines = [line.split() for line in ADMIN.strip().splitlines()[2:]]
    return [(pattern, list(map(int, cells))) for pattern, *cells in lines]


def told(method: str, pattern: str, found: dict[str, set[int]], expected: dict[str, int]) -> str:
    """A row as it came out, beside what the table says."""
    cells = ((name, "/".join(map(str, sorted(statuses))), expected[name]) for name, statuses in found.items())
    return f"{method} {pattern}: " + ", ".join(
        f"{name} {came}" + ("" if came == str(wanted) else f" (not {wanted})") for name, came, wanted in cells
    )


def said(answer: Any) -> tuple[int, bytes, dict[str, str]]:
    """All that a caller learns from an answer; what is drawn anew for each page tells nothing."""
    body = re.sub(rb'value="[A-Za-z0-9]{64}"', b"", answer.content)
    return answer.status_code, body, {name: text for name, text in answer.items() if name != "X-Request-ID"}


@pytest.fixture
def callers() -> Callers:
    return Callers.all()


@pytest.fixture
def world() -> World:
    return World()


def test_every_route_has_its_row() -> None:
    addresses = [pattern.partition("?")[0] for _, pattern, _ in rows(API)] + [pattern for pattern, _ in admin_rows()]
    told = {str(resolve(NAMES.sub(an_id, address)).route) for address in addresses}
    assert set(routes()) - told == set()


def an_id(name: re.Match[str]) -> str:
    """Something that an address takes in the place of a name."""
    return "7" if NUMBERED.fullmatch(name[0]) else str(uuid.UUID(int=7))


@pytest.mark.parametrize(("method", "pattern", "expected"), rows(API), ids=lambda value: str(value)[:50])
def test_everybody_is_answered_as_the_table_says(
    method: str, pattern: str, expected: dict[str, int], callers: Callers, world: World
) -> None:
    found = {}
    for column in expected:
        address = world.address(pattern)
        found[column] = {call(caller, method, address).status_code for caller in callers.columns[column].values()}
    wrong = {column for column, statuses in found.items() if statuses != {expected[column]}}
    assert not wrong, told(method, pattern, found, expected)


def test_no_other_method_gets_anybody_further(callers: Callers, world: World) -> None:
    known: dict[str, set[str]] = {}
    open_to_all = {"OPTIONS /api/schema/", *(f"{method} /admin/login/" for method in ("OPTIONS", "POST", "PUT"))}
    for method, pattern, _ in rows(API):
        known.setdefault(pattern, set()).add(method)
    for pattern, methods in known.items():
        address = world.address(pattern)
        for method in set(METHODS) - methods - {"HEAD"}:
            nobody, staff = (call(callers[name], method, address).status_code for name in ("nobody", "staff"))
            asked = f"{method} {pattern}"
            assert nobody in {302, 401, 403, 404, 405} or asked in open_to_all, asked
            assert staff in {302, 404, 405} or method == "OPTIONS" or asked in open_to_all, asked


def test_whoever_may_not_know_cannot_tell_what_exists(callers: Callers, world: World) -> None:
    for method, pattern, expected in rows(API):
        if not NAMES.search(pattern):
            continue
        there, not_there = world.address(pattern), world.address(NAMES.sub("{absent}", pattern))
        for column, status in expected.items():
            if status in {401, 403, 404}:
                for name, caller in callers.columns[column].items():
                    found, absent = (said(call(caller, method, address)) for address in (there, not_there))
                    assert found == absent, (method, pattern, name)


def test_what_marks_others_notifications_read_learns_nothing_of_them(callers: Callers, world: World) -> None:
    answers = [
        callers["other"].post(
            "/api/recipients/bob/read", {"ids": [world.address(which)]}, content_type="application/json"
        )
        for which in ("{row}", "{absent}")
    ]
    assert said(answers[0]) == said(answers[1])
    assert answers[0].json() == {"updated": 0, "unread": 0}


def test_not_even_what_is_asked_of_the_servers_tells_whether_anothers_notification_exists(
    callers: Callers, world: World
) -> None:
    asked = []
    for which in ("{row}", "{absent}"):
        address = world.address(f"/api/notifications/{which}")
        with CaptureQueriesContext(connection) as queries:
            assert callers["other"].get(address).status_code == 404
        asked.append(len(queries))
    assert asked[0] == asked[1]


@pytest.mark.parametrize(("pattern", "expected"), admin_rows(), ids=lambda value: str(value)[:60])
def test_the_admin_answers_as_its_table_says(pattern: str, expected: list[int], callers: Callers, world: World) -> None:
    address = world.address(pattern)
    for column in KNOCKING:
        answer = callers[column].get(address)
        assert answer.status_code == expected[0], column
        if answer.status_code == 302 and pattern != SIGN_OUT:
            assert answer.headers["Location"] == f"{SIGN_IN}?next={address}"
    # Signing out is the last that a session does.
    asked = [(column, method) for column in ("guest", "staff", "root") for method in ("GET", "POST")]
    found = [callers[column].generic(method, world.address(pattern)).status_code for column, method in asked]
    assert found == expected


def test_a_form_of_the_admin_that_another_page_sends_changes_nothing(callers: Callers, world: World) -> None:
    for pattern, _ in admin_rows():
        assert callers["forged"].post(world.address(pattern)).status_code == 403, pattern


def test_staff_without_permission_cannot_tell_what_exists_in_the_admin(callers: Callers, world: World) -> None:
    for pattern, _ in admin_rows():
        if not NAMES.search(pattern):
            continue
        there = world.address(pattern)
        not_there = world.address(NAMES.sub("{absent}", NUMBERED.sub("987654321", pattern)))
        for method in ("GET", "POST"):
            found, other = (callers["staff"].generic(method, address) for address in (there, not_there))
            assert found.status_code == other.status_code, (method, pattern)

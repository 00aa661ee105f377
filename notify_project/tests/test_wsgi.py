"""HTTP under a WSGI server: what an answer is handed over as."""

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse

from notify_project import wsgi


class Whole(HttpResponse):
    """An answer whose end is of no interest to the test's own database."""

    def close(self) -> None:
        self.closed = True


def answered(response: Iterable[bytes]) -> Iterable[bytes]:
    def application(_: dict[str, Any], __: Callable[..., Any]) -> Iterable[bytes]:
        return response

    return wsgi.in_one_piece(application)({}, print)


def test_an_answer_that_is_there_as_a_whole_goes_out_as_a_whole_and_is_over() -> None:
    whole = Whole(b"answer")
    assert answered(whole) == [b"answer"]
    assert whole.closed


def test_a_stream_stays_a_stream_that_the_server_ends() -> None:
    stream = StreamingHttpResponse(iter([b"a", b"b"]))
    assert answered(stream) is stream
    assert not stream.closed


def test_what_a_server_makes_of_a_file_is_its_own() -> None:
    file = iter([b"a"])
    assert answered(file) is file

"""The same deployment from several processes: two gateways, and HTTP apart from them under a WSGI server."""

import sys
from contextlib import ExitStack

import httpx

from tests import truth
from tests.api import Api
from tests.sockets import Socket
from tests.stack import Stack, free_port, wait_until

# The standard library's server stands for any WSGI server.
WSGI = """
import sys
from wsgiref.simple_server import make_server
from notify_project.wsgi import application
make_server("127.0.0.1", int(sys.argv[1]), application).serve_forever()
"""


def start_wsgi(stack: Stack) -> None:
    """HTTP alone; from here on it is what the API is called at."""
    port = free_port()
    process = stack.start([sys.executable, "-c", WSGI, str(port)])
    stack.url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.returncode is None, process.tail()
        with Api(stack) as api:
            try:
                return api.request("/healthz").status_code == 200
            except httpx.TransportError:
                return False

    wait_until(answers, message="the WSGI server never answered")


def test_frames_and_reads_reach_sockets_at_every_gateway_whoever_causes_them(own_stack: Stack) -> None:
    own_stack.start_worker()
    own_stack.start_worker()
    gateways = []
    for _ in range(2):
        own_stack.start_web()
        gateways.append(own_stack.url)
    start_wsgi(own_stack)
    with Api(own_stack) as api, ExitStack() as opened:
        token = api.token("alice")
        sockets = [opened.enter_context(Socket(gateway, token)) for gateway in gateways * 2]
        for socket in sockets:
            socket.expect("hello")
        accepted = [api.notify("alice") for _ in range(20)]
        for socket in sockets:
            seen = {socket.expect("notification")["notification"]["seq"] for _ in accepted}
            assert seen == set(range(1, 21))
        assert api.post("/api/recipients/alice/read", {"all": True}).json() == {"updated": 20, "unread": 0}
        for socket in sockets:
            assert socket.expect("read") == {"type": "read", "ids": "all", "unread": 0}
        truth.wait_for_rest(own_stack)
    truth.assert_kept(own_stack, accepted)

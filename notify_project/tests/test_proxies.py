"""Whom a request is from: what proxies say is believed of ours, and of nobody else."""

from typing import Any, Final

import pytest
from django.http import HttpResponse

from notify_project.configuration import ConfigurationError, networks
from notify_project.proxies import believe_ours

pytestmark = pytest.mark.one_shard_is_enough

CLIENT, PROXY, BALANCER, STRANGER = "198.51.100.1", "10.0.0.7", "10.1.2.3", "203.0.113.9"
TRUSTED: Final = "10.0.0.7, 10.1.0.0/16, 2001:db8::/32"


@pytest.fixture
def seen(settings: Any, rf: Any) -> Any:
    """A request as what comes after the middleware sees it: whose it is, and whether it came by https."""

    def see(peer: str, forwarded_for: str = "", proto: str = "", trusted: str = TRUSTED) -> tuple[str, bool]:
        settings.NOTIFY_TRUSTED_PROXIES = networks("trusted_proxies", trusted)
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
        said = {"X-Forwarded-For": forwarded_for, "X-Forwarded-Proto": proto}
        request = rf.get("/", REMOTE_ADDR=peer, headers={name: text for name, text in said.items() if text})
        believe_ours(lambda _: HttpResponse())(request)
        return request.META["REMOTE_ADDR"], request.is_secure()

    return see


def test_a_trusted_proxy_is_believed(seen: Any) -> None:
    assert seen(PROXY, CLIENT, "https") == (CLIENT, True)
    assert seen(PROXY, CLIENT, "http") == (CLIENT, False)
    assert seen("::ffff:10.0.0.7", CLIENT, "https") == (CLIENT, True)
    assert seen("2001:db8::1", "2001:db9::1", "https") == ("2001:db9::1", True)


def test_nobody_else_is(seen: Any) -> None:
    assert seen(STRANGER, CLIENT, "https") == (STRANGER, False)
    assert seen(PROXY, CLIENT, "https", trusted="") == (PROXY, False)
    assert seen("", CLIENT, "https") == ("", False)


def test_what_a_client_told_the_proxy_is_hearsay(seen: Any) -> None:
    assert seen(PROXY, f"127.0.0.1, {CLIENT}") == (CLIENT, False)
    assert seen(PROXY, f"{STRANGER}, {CLIENT}, {BALANCER}") == (CLIENT, False)
    assert seen(PROXY, f"{CLIENT}, nonsense") == (PROXY, False)
    assert seen(PROXY, f"{CLIENT}, nonsense, {BALANCER}") == (BALANCER, False)


def test_a_request_of_a_proxys_own_is_the_proxys(seen: Any) -> None:
    assert seen(PROXY) == (PROXY, False)
    assert seen(PROXY, BALANCER) == (BALANCER, False)


@pytest.mark.parametrize("wrong", ["10.0.0.7/8", "10.0.0.300", "1:2", "10.0.0.0/33"])
def test_what_only_looks_like_a_network_is_refused_by_name(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^NOTIFY_TRUSTED_PROXIES: .*"):
        networks("trusted_proxies", wrong)

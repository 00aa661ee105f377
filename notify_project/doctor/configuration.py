"""The settings: what must not be in production, and what must."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from notify_project.doctor.finding import Check, Finding, judged

ENOUGH_CHARACTERS: Final = 50
LEAST_DIFFERENT: Final = 12
# What an example has in place of a secret.
EXAMPLE: Final = re.compile(r"change.?me|insecure|example|secret.?key|password|your.?secret", re.IGNORECASE)
LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Facts(NamedTuple):
    """The settings that matter, and what Django's own deployment checks say."""

    secret_key: str
    debug: bool
    allowed_hosts: Sequence[str]
    https: bool
    fault_injection: bool
    failpoint: str
    messages: Sequence[CheckMessage]


def gather() -> Facts:
    """The settings as this process has them."""
    return Facts(
        secret_key=settings.NOTIFY.secret_key,
        debug=settings.DEBUG,
        allowed_hosts=settings.ALLOWED_HOSTS,
        https=settings.NOTIFY.https,
        fault_injection=settings.NOTIFY.fault_injection,
        failpoint=settings.NOTIFY.failpoint,
        messages=[said for said in checks.run_checks(include_deployment_checks=True) if not said.is_silenced()],
    )


def secret_key(facts: Facts) -> Finding:
    """It signs sessions and recipient tokens."""
    key, mend = facts.secret_key, "set SECRET_KEY to 50 random characters, the same for every web process"
    if not key:
        return Finding("fail", "SECRET_KEY", "is not set; the web does not start without", mend)
    if len(set(key)) < LEAST_DIFFERENT or EXAMPLE.search(key):
        return Finding("fail", "SECRET_KEY", "is easily guessed", mend)
    good, detail = len(key) >= ENOUGH_CHARACTERS, f"has {len(key)} characters"
    return judged("SECRET_KEY", good=good, detail=detail, mend=mend, worse="warn")


def debug(facts: Facts) -> Finding:
    """With it, an error shows settings and payloads."""
    return judged("DEBUG", good=not facts.debug, detail="is on" if facts.debug else "is off", mend="set DEBUG=false")


def hosts(facts: Facts) -> Finding:
    """Whoever may choose the host's name chooses it in links, and in the policy for sockets."""
    names = ", ".join(facts.allowed_hosts)
    if "*" in facts.allowed_hosts:
        return Finding("fail", "ALLOWED_HOSTS", "takes any name", "name the hosts that the web answers to")
    if set(facts.allowed_hosts) <= LOCAL:
        mend = "name the hosts that the web answers to, unless nobody is to reach it from elsewhere"
        return Finding("warn", "ALLOWED_HOSTS", f"has this machine only: {names}", mend)
    return Finding("ok", "ALLOWED_HOSTS", names)


def https(facts: Facts) -> Finding:
    """Tokens and sessions are read by whoever is on the way of plain http."""
    mend = "put a proxy with TLS before the web and set NOTIFY_HTTPS=true"
    return judged("https", good=facts.https, detail="is on" if facts.https else "is off", mend=mend, worse="warn")


def fault_injection(facts: Facts) -> Finding:
    """With it, whoever may send may kill a worker."""
    on = facts.fault_injection
    mend = (
        "set NOTIFY_FAULT_INJECTION=false, and start every process again (`make up` sets it: it is for trying things)"
    )
    return judged("fault injection", good=not on, detail="is on" if on else "is off", mend=mend)


def failpoint(facts: Facts) -> Finding:
    """A process that has one kills itself."""
    detail = f"is set: {facts.failpoint}" if facts.failpoint else "is not set"
    return judged("failpoint", good=not facts.failpoint, detail=detail, mend="unset NOTIFY_FAILPOINT")


def deployment(facts: Facts) -> Finding:
    """Django's own checks."""
    if not facts.messages:
        return Finding("ok", "check --deploy", "has nothing to say")
    serious = any(message.level >= checks.ERROR for message in facts.messages)
    said = "; ".join(f"{message.id}: {str(message.msg).partition('. ')[0]}" for message in facts.messages)
    return Finding("fail" if serious else "warn", "check --deploy", said, "see `manage.py check --deploy`")


CHECKS: Final[Sequence[Check[Facts]]] = (secret_key, debug, hosts, https, fault_injection, failpoint, deployment)

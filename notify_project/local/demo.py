"""What a newcomer is given: an address, a sign-in, a key, and a line to try."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

ADMIN = "admin"
PASSWORD_BYTES = 12


def complete(kept: Mapping[str, str], new_api_key: Callable[[], str]) -> dict[str, str]:
    """The sign-in and the key of an earlier start, or new ones."""
    return {
        "NOTIFY_API_KEY": kept.get("NOTIFY_API_KEY") or new_api_key(),
        "NOTIFY_ADMIN_USER": kept.get("NOTIFY_ADMIN_USER") or ADMIN,
        "NOTIFY_ADMIN_PASSWORD": kept.get("NOTIFY_ADMIN_PASSWORD") or secrets.token_urlsafe(PASSWORD_BYTES),
    }


def welcome(url: str, access: Mapping[str, str], file: Path) -> str:
    """What is printed once everything answers."""
    key = access["NOTIFY_API_KEY"]
    return f"""
Notify is running.

  Dashboard   {url}/
  User        {access["NOTIFY_ADMIN_USER"]}
  Password    {access["NOTIFY_ADMIN_PASSWORD"]}
  API key     {key}

For scripts, the same is in {file}. Send a first notification:

  curl {url}/api/notify -H 'Authorization: Bearer {key}' \\
    -H 'Content-Type: application/json' -d '{{"recipient": "alice", "type": "message", "title": "Hello, Alice"}}'

Ctrl-C stops everything; the data stays.
"""

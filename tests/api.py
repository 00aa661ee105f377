"""The API as a program calls it, over a real connection."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from tests.stack import Stack

MAX_BATCH = 1000


class Api:
    """A producer's client."""

    def __init__(self, stack: Stack) -> None:
        self._secrets = stack.secrets
        self._client = httpx.Client(
            base_url=stack.url, headers={"Authorization": f"Bearer {stack.api_key}"}, timeout=30, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._client.close()

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """POST JSON."""
        return self._client.post(path, json=body, headers=headers)

    def request(self, path: str) -> httpx.Response:
        """GET, whatever the answer."""
        return self._client.get(path)

    def get(self, path: str) -> Any:
        """GET, and the JSON of an answer that has to be 200."""
        answer = self.request(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def notify(self, recipient: str, title: str = "A title", **fields: Any) -> str:
        """Send one notification; its id."""
        answer = self.post("/api/notify", {"recipient": recipient, "type": "test", "title": title, **fields})
        assert answer.status_code == 202, answer.text
        event_id: str = answer.json()["id"]
        return event_id

    def notify_all(self, recipients: Sequence[str]) -> list[str]:
        """Send one notification each, in batches; their ids."""
        ids: list[str] = []
        for start in range(0, len(recipients), MAX_BATCH):
            events = [
                {"recipient": recipient, "type": "test", "title": "A title"}
                for recipient in recipients[start : start + MAX_BATCH]
            ]
            answer = self.post("/api/notify/batch", {"notifications": events})
            assert answer.status_code == 202, answer.text
            ids += [result["id"] for result in answer.json()["results"]]
        return ids

    def token(self, recipient: str, ttl: int = 3600) -> str:
        """A recipient's token."""
        answer = self.post(f"/api/recipients/{recipient}/token", {"ttl": ttl})
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        self._secrets.add(token)
        return token

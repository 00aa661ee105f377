"""The sender beside `plain.py`: one `group_send` to each recipient, when a line of JSON says so."""

import asyncio
import json
import sys

from channels.layers import get_channel_layer

from benchmarks.fanning import plain  # noqa: F401 - it has the settings


async def main() -> None:
    """Send as often as a line says, `["send", text]`, and answer each line with another."""
    loop = asyncio.get_running_loop()
    recipients = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    layer = get_channel_layer()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        _, text = json.loads(line)
        for recipient in recipients:
            await layer.group_send(recipient, {"type": "frame", "text": text})
        print(json.dumps({"sent": len(recipients)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())

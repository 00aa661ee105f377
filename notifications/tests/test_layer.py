"""The layer that frames go by."""

import asyncio
import errno
import time

import pytest
from channels.layers import get_channel_layer

RECEIVE_SECONDS = 1


# Where the loop stands still, no time-out of its own ends this: the alarm does, which channels_redis only logs.
@pytest.mark.timeout(30)
def test_a_connection_that_the_kernel_gives_up_is_made_anew_and_stops_nobody_meanwhile() -> None:
    began = time.monotonic()

    async def frame_after_all() -> str:
        layer = get_channel_layer()
        channel = await layer.new_channel("tests.")
        await layer.group_add("tests", channel)
        lost = layer._shards[0]._pubsub.connection
        # As the transport does it when its socket says so.
        lost._writer.transport._fatal_error(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
        while True:
            await layer.group_send("tests", {"type": "frame", "text": "here"})
            try:
                message = await asyncio.wait_for(layer.receive(channel), RECEIVE_SECONDS)
            except TimeoutError:
                channel = await layer.new_channel("tests.")
                await layer.group_add("tests", channel)
            else:
                await layer.flush()
                return str(message["text"])

    assert asyncio.run(frame_after_all()) == "here"
    assert time.monotonic() - began < 30, "the loop stood still"

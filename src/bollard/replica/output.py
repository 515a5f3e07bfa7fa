"""Taking sent bytes off the front of a list of buffers, shared by every socket of the data process. Pure."""

from bollard.replica.disk import Buffer

__all__ = ["drop_sent"]


def drop_sent(buffers: list[Buffer], sent: int) -> None:
    """Removes the first `sent` bytes, cutting the buffer in which they end."""
    if sent == sum(map(len, buffers)):
        buffers.clear()
        return
    done = 0
    while done < len(buffers) and sent >= len(buffers[done]):
        sent -= len(buffers[done])
        done += 1
    del buffers[:done]
    if sent:
        buffers[0] = memoryview(buffers[0])[sent:]

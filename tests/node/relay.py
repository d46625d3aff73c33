"""Carries connections from a socket of the machine to the API server inside the namespaces.

The socket was opened before the namespaces were entered, so it listens on the machine's 127.0.0.1 and nowhere else.
"""

import asyncio
import contextlib
import socket
import threading


def start(listener: socket.socket, target: tuple[str, int]) -> None:
    """Carries every connection to `target`, from a thread of its own, for as long as this process lives."""
    threading.Thread(target=lambda: asyncio.run(_serve(listener, target)), name="relay", daemon=True).start()


async def _serve(listener: socket.socket, target: tuple[str, int]) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not there yet, or no more: whoever asked sees its connection end.
        with contextlib.suppress(OSError), contextlib.closing(writer):
            other_reader, other_writer = await asyncio.open_connection(*target)
            with contextlib.closing(other_writer):
                await asyncio.gather(_pump(reader, other_writer), _pump(other_reader, writer))

    server = await asyncio.start_server(carry, sock=listener)
    await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

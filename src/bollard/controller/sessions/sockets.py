"""Channels over TCP, plain or with mutual TLS, and the dialer that opens them."""

import asyncio
import contextlib
import ipaddress
import ssl
from typing import Final

from bollard.controller.sessions.base import DialError
from bollard.domain.nodes import Encryption, NetInterface
from bollard.wire.link import (
    FRAME_BYTES_MAX,
    PORT_PLAIN,
    PORT_TLS,
    AnyMessage,
    FrameReader,
    LinkError,
    Welcome,
    decode,
    encode,
)

DIAL_S: Final = 5.0
_READ_BYTES: Final = 1 << 16
_HOSTNAME_MISMATCH: Final = 62
"""X509_V_ERR_HOSTNAME_MISMATCH."""


class SocketChannel:
    """wire.link.Channel over a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()

    async def send(self, message: AnyMessage) -> None:
        """See Channel."""
        self._writer.write(encode(message))
        await self._writer.drain()

    async def receive(self) -> AnyMessage | None:
        """See Channel. Messages of types that this release does not know are skipped."""
        while True:
            payload = self._frames.next()
            if payload is None:
                data = await self._reader.read(_READ_BYTES)
                if not data:
                    if self._frames.pending_bytes:
                        raise LinkError("the stream ends inside a message")
                    return None
                self._frames.feed(data)
                continue
            message = decode(payload)
            if isinstance(message, Welcome):
                self._frames.limit = FRAME_BYTES_MAX
            if message is not None:
                return message

    def close(self) -> None:
        """See Channel."""
        with contextlib.suppress(RuntimeError):
            self._writer.close()


class SocketDialer:
    """Dials by TCP. Without a TLS context nodes that want TLS are refused."""

    def __init__(self, tls: ssl.SSLContext | None, *, insecure_plain: bool = False) -> None:
        self._tls = tls
        self._insecure_plain = insecure_plain

    async def dial(self, node: str, net_if: NetInterface) -> SocketChannel:
        """See Dialer."""
        encrypted = net_if.satellite_encryption is Encryption.SSL
        port = net_if.satellite_port or (PORT_TLS if encrypted else PORT_PLAIN)
        where = f"{net_if.address} port {port}"
        if encrypted and self._tls is None:
            raise DialError(
                "AUTHENTICATION_ERROR",
                "the node wants TLS and this controller has no certificate; run 'bollard-controller ca init'",
            )
        if not encrypted and not self._insecure_plain and not is_loopback(net_if.address):
            raise DialError(
                "AUTHENTICATION_ERROR",
                f"a plain link to {where} is refused; use TLS, or start the controller with --insecure-plain",
            )
        try:
            async with asyncio.timeout(DIAL_S):
                reader, writer = await asyncio.open_connection(
                    net_if.address,
                    port,
                    ssl=self._tls if encrypted else None,
                    server_hostname=node if encrypted else None,
                )
        except ssl.SSLCertVerificationError as error:
            if error.verify_code == _HOSTNAME_MISMATCH:
                raise DialError(
                    "HOSTNAME_MISMATCH", f"the certificate of {where} does not name node '{node}'"
                ) from error
            raise DialError(
                "AUTHENTICATION_ERROR", f"the certificate of {where} is not trusted: {error.verify_message}"
            ) from error
        except ssl.SSLError as error:
            raise DialError(
                "AUTHENTICATION_ERROR", f"TLS with {where} failed: {error.reason or error}"
            ) from error
        except TimeoutError as error:
            raise DialError("OFFLINE", f"{where} does not answer within {DIAL_S:g} s") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise DialError("OFFLINE", f"{where} cannot be reached: {reason}") from error
        return SocketChannel(reader, writer)


def is_loopback(address: str) -> bool:
    """Whether nobody else can reach this address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"

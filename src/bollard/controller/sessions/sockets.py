"""The dialer that opens channels over TCP, plain or with mutual TLS."""

import asyncio
import ipaddress
import ssl
from typing import Final

from bollard.controller.sessions.base import DialError
from bollard.domain.nodes import Encryption, NetInterface
from bollard.runtime.channel import SocketChannel
from bollard.wire.link import PORT_PLAIN, PORT_TLS

DIAL_S: Final = 5.0
_HOSTNAME_MISMATCH: Final = 62
"""X509_V_ERR_HOSTNAME_MISMATCH."""


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

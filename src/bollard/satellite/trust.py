"""Who is on the other side of a TLS stream: a controller, or somebody else whom the authority signed."""

import asyncio
import ssl

from bollard.wire.link import CONTROLLER_IDENTITY

__all__ = ["distrust"]


def distrust(writer: asyncio.StreamWriter) -> str:
    """Why the other side of a TLS stream is no controller; empty: it is one, or the stream is plain."""
    stream: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    if stream is None:
        return ""
    names = (stream.getpeercert() or {}).get("subjectAltName", ())
    if ("URI", CONTROLLER_IDENTITY) in names:
        return ""
    return f"the certificate of the other side does not name a controller ({CONTROLLER_IDENTITY})"

"""A satellite's configuration on the public API."""

from typing import Any

import msgspec

from bollard.domain.nodes import Node
from bollard.wire.rest.bodies import Body
from bollard.wire.rest.settings import ConfigDebug, ConfigDir, LogBody


class SatelliteConfigBody(Body, frozen=True, kw_only=True):
    """Of a request to change a satellite's configuration; only the log level is used.

    Clients send back what they were shown, with the one member changed, so all of it is taken.
    """

    config: dict[str, Any] | None = None
    debug: dict[str, Any] | None = None
    log: LogBody | None = None
    net: dict[str, Any] | None = None
    stlt_override_node_name: str | None = None
    drbd_keep_res_pattern: str | None = None
    remote_spdk: bool | None = None
    ebs: bool | None = None
    special_satellite: bool | None = None


class SatelliteLog(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much a satellite logs; it logs to where it was started."""

    print_stack_trace: bool
    level: str = ""
    level_linstor: str = ""


class SatelliteNet(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a satellite listens."""

    bind_address: str = ""
    port: int | None = None
    com_type: str = ""


class SatelliteSays(msgspec.Struct, frozen=True):
    """A satellite's answer about its configuration; one of an older release has none."""

    level: str = ""
    bind: str = ""
    port: int | None = None
    folder: str = ""


class SatelliteConfigView(msgspec.Struct, frozen=True):
    """A satellite's configuration as clients see it."""

    config: ConfigDir
    debug: ConfigDebug
    log: SatelliteLog
    net: SatelliteNet
    remote_spdk: bool = False
    ebs: bool = False
    special_satellite: bool = False


def config_view(node: Node, says: SatelliteSays) -> SatelliteConfigView:
    """What the satellite says of itself, and how the controller reaches it."""
    link = node.link()
    encryption = (link.satellite_encryption or "") if link is not None else ""
    port = link.satellite_port if link is not None else None
    level = _LEVELS.get(says.level, says.level)
    return SatelliteConfigView(
        ConfigDir(says.folder),
        ConfigDebug(),
        SatelliteLog(print_stack_trace=False, level=level, level_linstor=level),
        SatelliteNet(says.bind, says.port or port, encryption.lower()),
    )


_LEVELS = {"WARNING": "WARN", "CRITICAL": "ERROR"}
"""Levels that the API calls otherwise."""

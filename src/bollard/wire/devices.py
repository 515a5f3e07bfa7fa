"""What controller and satellite say to each other of bare devices, as queries. Data only."""

import msgspec

__all__ = ["DevicePoolDone", "DevicePoolSpec", "FreeDevice"]


class FreeDevice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A block device that holds nothing and that nobody uses."""

    path: str
    size_bytes: int
    rotational: bool = False
    model: str = ""
    serial: str = ""
    wwn: str = ""


class DevicePoolSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pool to be made of devices."""

    request: str
    """Names this attempt: asking again with the same one does nothing twice."""
    provider: str
    devices: tuple[str, ...]
    name: str
    raid_level: str = "JBOD"
    vdo: bool = False
    vdo_slab_kib: int = 0
    vdo_logical_kib: int = 0
    pv_arguments: tuple[str, ...] = ()
    vg_arguments: tuple[str, ...] = ()
    lv_arguments: tuple[str, ...] = ()
    zpool_arguments: tuple[str, ...] = ()


class DevicePoolDone(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far it is."""

    running: bool = False
    backing: str = ""
    """What a storage pool is to be told that it stands on; empty: it failed."""
    error: str = ""
    cause: str = ""
    correction: str = ""

"""What sort of world a history has: nodes, disks, what may fail, which options hold. Values only."""

import msgspec


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """`disk_faults`: whole disks fail and are replaced; `bad_blocks`: single blocks do (pass_on).

    `short_way`: plain writes go the core's short way; `external`: metadata is on disks of its own; `options`
    are fields of the core's Options besides those that are drawn.
    """

    diskful: int = 2
    witnesses: int = 1
    disk_faults: bool = False
    bad_blocks: bool = False
    short_way: bool = False
    external: bool = False
    options: dict[str, object] = {}

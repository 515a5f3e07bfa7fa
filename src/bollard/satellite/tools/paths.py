"""Where a resource's opened storage is: what every implementation of replication is given. Values only."""

from collections.abc import Mapping

import msgspec

__all__ = ["Paths"]


class Paths(msgspec.Struct, frozen=True):
    """Opened storage by volume number: of the data, and of DRBD's metadata where that is not beside it."""

    data: Mapping[int, str]
    metadata: Mapping[int, str] = {}

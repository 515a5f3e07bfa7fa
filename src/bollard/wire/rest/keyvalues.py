"""The key-value store and error reports on the public API."""

import msgspec

from bollard.domain.resources import KeyValueStore
from bollard.wire.rest.bodies import Body, PropsModify


class KeyValueStoreModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change an instance of the key-value store."""


class ErrorReportDelete(Body, frozen=True, kw_only=True):
    """Of a request to delete error reports by what they are."""

    since: int | None = None
    to: int | None = None
    nodes: tuple[str, ...] | None = None
    exception: str | None = None
    version: str | None = None
    ids: tuple[str, ...] | None = None


class KeyValueStoreView(msgspec.Struct, frozen=True, omit_defaults=True):
    """An instance as clients see it."""

    name: str
    props: dict[str, str] = {}


class ErrorReportView(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error report as clients see it."""

    error_time: int
    node_name: str = ""
    filename: str = ""
    text: str = ""
    module: str = ""
    version: str = ""
    peer: str = ""
    exception: str = ""
    exception_message: str = ""
    origin_file: str = ""
    origin_method: str = ""
    origin_line: int | None = None


def key_value_store_view(store: KeyValueStore) -> KeyValueStoreView:
    """An instance."""
    return KeyValueStoreView(store.name, store.props)

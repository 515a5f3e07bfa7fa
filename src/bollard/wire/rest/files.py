"""External files as clients see them: content in base64."""

import base64

import msgspec

from bollard.domain.files import ExternalFile
from bollard.wire.rest.bodies import Body


class FilePut(Body, frozen=True, kw_only=True):
    """The body that makes or replaces a file."""

    path: str | None = None
    content: str | None = None
    alt_suffixes: tuple[str, ...] | None = None


class FileView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file."""

    path: str
    content: str = ""
    alt_suffixes: tuple[str, ...] = ()


class FileCheck(msgspec.Struct, frozen=True):
    """Whether a node would write the file."""

    allowed: bool


class FileStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node has of the file."""

    content_match: bool
    actual_path: str = ""


def file_view(file: ExternalFile, *, with_content: bool) -> FileView:
    """A file as clients see it."""
    content = base64.b64encode(file.content).decode() if with_content else ""
    return FileView(file.path, content, file.alt_suffixes)

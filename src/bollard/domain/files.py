"""Files of other programs that the cluster keeps and writes to nodes."""

import msgspec

from bollard.domain.ids import Key

FILES = "files/"
"""Properties of resource definitions that name the files which their nodes get: files/PATH = True."""


class ExternalFile(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="file"):
    """A file, by its absolute path."""

    path: str
    content: bytes = b""
    alt_suffixes: tuple[str, ...] = ()
    """Where path + suffix is there on a node instead of path, that is the one which is written."""

    @property
    def key(self) -> Key:
        """The store key; case counts."""
        return Key(self.path)


def prop_of(path: str) -> str:
    """The property of a resource definition that attaches the file of this path."""
    return FILES + path.lstrip("/")


def paths_of(props: dict[str, str]) -> list[str]:
    """The paths of the files that these properties attach, in order."""
    return sorted("/" + key.removeprefix(FILES) for key in props if key.startswith(FILES))

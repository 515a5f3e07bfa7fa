"""The mark that says whose a volume or snapshot of LVM or ZFS is, as words that the storage keeps. Pure."""

from typing import Final

import msgspec

from bollard.domain.layers import LayerKind

__all__ = ["Tags", "decode_tags", "encode_tags"]

_PREFIX: Final = "bollard."


class Tags(msgspec.Struct, frozen=True):
    """Whose a logical volume is: a life of a volume on this node, or a snapshot of one."""

    node: str
    resource: str
    number: int
    volume: str = ""
    snapshot: str = ""
    snapshot_name: str = ""
    size_kib: int = 0
    """Of a snapshot: of the volume when it was taken."""
    metadata: bool = False
    layers: tuple[LayerKind, ...] = ()
    filesystem: str = ""
    unfinished: bool = False
    """Its content means nothing yet."""
    growing_kib: int = 0
    """It is being enlarged, and was so large before; 0: it is not."""
    thin: bool = False
    """Of which of two kinds of pools at one place it is, where its storage does not tell."""
    buried: bool = False
    """It was removed, and is kept only because of the snapshots that are in it."""


def encode_tags(tags: Tags) -> tuple[str, ...]:
    """Each a word without spaces or commas: a resource's name has none either."""
    words: dict[str, str] = {
        "node": tags.node,
        "resource": tags.resource,
        "number": str(tags.number),
        "volume": tags.volume,
        "snapshot": tags.snapshot,
        "name": tags.snapshot_name,
        "size": str(tags.size_kib) if tags.size_kib else "",
        "layers": "+".join(tags.layers),
        "metadata": "yes" if tags.metadata else "",
        "filesystem": tags.filesystem,
        "unfinished": "yes" if tags.unfinished else "",
        "growing": str(tags.growing_kib) if tags.growing_kib else "",
        "thin": "yes" if tags.thin else "",
        "buried": "yes" if tags.buried else "",
    }
    return tuple(f"{_PREFIX}{word}={value}" for word, value in words.items() if value)


def decode_tags(text: str) -> Tags | None:
    """The inverse; None for what carries no mark of ours, or one that cannot be read."""
    words = dict(
        word.removeprefix(_PREFIX).split("=", 1)
        for word in text.split(",")
        if word.startswith(_PREFIX) and "=" in word
    )
    if "resource" not in words or not (words.get("volume") or words.get("snapshot")):
        return None
    try:
        return Tags(
            node=words.get("node", ""),
            resource=words["resource"],
            number=int(words.get("number", "")),
            volume=words.get("volume", ""),
            snapshot=words.get("snapshot", ""),
            snapshot_name=words.get("name", ""),
            size_kib=int(words.get("size", "0")),
            metadata="metadata" in words,
            layers=tuple(LayerKind(word) for word in words.get("layers", "").split("+") if word),
            filesystem=words.get("filesystem", ""),
            unfinished="unfinished" in words,
            growing_kib=int(words.get("growing", "0")),
            thin="thin" in words,
            buried="buried" in words,
        )
    except ValueError:
        return None

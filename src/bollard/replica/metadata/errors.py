"""The one error of this package: metadata that cannot be used, and what to do about it."""

__all__ = ["MetadataError"]


class MetadataError(Exception):
    """On-disk metadata (or a wish for it) that cannot be used.

    `what` says what is wrong, `where` names the structure and field, `next_step` what a person should do.
    """

    def __init__(self, what: str, *, where: str, next_step: str) -> None:
        super().__init__(f"{where}: {what}; {next_step}")
        self.what = what
        self.where = where
        self.next_step = next_step

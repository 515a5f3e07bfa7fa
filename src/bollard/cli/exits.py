"""Exit codes of the command line; documented in docs/reference/cli.md."""

from enum import IntEnum


class Exit(IntEnum):
    """The numbers are those of the linstor client."""

    OK = 0
    UNKNOWN = 1
    USAGE = 2
    NOT_FOUND = 3
    UNSUPPORTED = 4
    ILLEGAL_STATE = 5
    API_ERROR = 10
    NO_SATELLITE = 11
    NO_CONNECTION = 20
    TIMEOUT = 21
    BAD_REPLY = 22


class Stop(Exception):
    """End the command with a code and a sentence for the person."""

    def __init__(self, code: Exit, message: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message

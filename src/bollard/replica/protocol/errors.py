"""The one error of the wire: what was read, expected and got. Never raised for our own mistakes."""


class ProtocolError(Exception):
    """A peer sent something the protocol does not allow; the connection must be dropped.

    `what` names the field or packet, `expected` and `got` are short texts without payload bytes or secrets.
    """

    def __init__(self, what: str, *, expected: object, got: object) -> None:
        super().__init__(f"{what}: expected {expected}, got {got}; the connection must be dropped")
        self.what = what
        self.expected = str(expected)
        self.got = str(got)

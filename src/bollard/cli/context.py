"""What every command gets: the client, the output, and the global options."""

from typing import Any

import msgspec

from bollard.cli import oldform
from bollard.cli.exits import Exit, Stop
from bollard.cli.oldform import Form
from bollard.cli.session import Session
from bollard.cli.show import Show, severity
from bollard.client.rest import Query, Reply, RestClient


class Options(msgspec.Struct, frozen=True):
    """Global options after command line, environment and files."""

    machine_readable: bool = False
    output_version: str = "v1"
    curl: bool = False
    warn_as_error: bool = False


class Context:
    """One run of the command line."""

    def __init__(
        self, client: RestClient, show: Show, options: Options, session: Session | None = None
    ) -> None:
        self.client = client
        self.show = show
        self.options = options
        self.session = session
        """Of the prompt; None for a single command."""

    def fetch(self, path: str, query: Query | None = None) -> Any:
        """Read data. Raises Stop with the reply's reasons when it is refused, or after `--curl`."""
        if self.options.curl:
            self.show.line(self.client.curl("GET", path, query=query))
            raise Stop(Exit.OK)
        reply = self.client.get(path, query)
        if not reply.ok:
            self.answer(reply)
            raise Stop(Exit.NOT_FOUND if reply.status == 404 else Exit.API_ERROR)
        return reply.body

    def do(self, method: str, path: str, body: object = None, query: Query | None = None) -> int:
        """Change something, show what was answered, and return the exit code."""
        if self.options.curl:
            self.show.line(self.client.curl(method, path, body=body, query=query))
            return Exit.OK
        return self.answer(self.client.call(method, path, body=body, query=query))

    def answer(self, reply: Reply) -> int:
        """Show the entries of a reply; the exit code says the worst of them."""
        entries = reply.entries()
        if self.options.machine_readable:
            old = self.options.output_version == "v0"
            self.show.json([oldform.entries(entries) if old else entries])
            return Exit.OK
        self.show.entries(entries)
        words = {severity(entry["ret_code"]) for entry in entries}
        if "ERROR" in words or not reply.ok:
            return Exit.API_ERROR
        if "WARNING" in words and self.options.warn_as_error:
            return Exit.API_ERROR
        return Exit.OK

    def raw(self, data: object, old: Form | None = None) -> bool:
        """Print data as JSON when that was asked for; whether it was. `old` makes the form v0 of it."""
        if self.options.machine_readable:
            shown = old(data) if old is not None and self.options.output_version == "v0" else data
            self.show.json([shown])
        return self.options.machine_readable

"""Entry point of `bollard`: options, the chosen command, and its exit code."""

import argparse
import sys
from collections.abc import Sequence

from bollard import __version__
from bollard.cli.context import Context, Options
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import build_parser
from bollard.cli.keys import authority_of, refuse_in_arguments, token_of
from bollard.cli.nouns import NOUNS
from bollard.cli.nouns.transaction import refuse_others
from bollard.cli.session import Session
from bollard.cli.settings import add_global_options, add_list_defaults, controllers_of, with_defaults
from bollard.cli.show import Show
from bollard.client.rest import BadReply, Insecure, NoController, RestClient, TimedOut, Tls, controller_urls

DESCRIPTION = "Manage replicated block volumes: nodes, storage pools, resource groups, resources."


def parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The whole grammar, or what of it is needed for this command line."""
    whole = build_parser(NOUNS, "bollard", DESCRIPTION, words)
    whole.add_argument("-v", "--version", action="version", version=f"bollard {__version__}")
    add_global_options(whole)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the process's exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        from bollard.cli.interactive import interact  # noqa: PLC0415  # only where a person types

        return interact(run)
    return run(words)


def run(words: Sequence[str], session: Session | None = None) -> int:
    """One command line, without the program's name; `session` is the prompt's."""
    try:
        refuse_in_arguments(words)
        options = parser(words).parse_args(with_defaults(words))
        add_list_defaults(options)
    except SystemExit as stop:
        return _usage(stop)
    except Stop as stop:
        sys.stderr.write(stop.message + "\n")
        return stop.code
    terminal = sys.stdout.isatty()
    show = Show(
        color=terminal and not options.no_color,
        utf8=not options.no_utf8,
        verbose=options.verbose,
        pages=terminal and options.pager,
    )
    try:
        refuse_others(session, options)
        return int(options.run(_context(options, show, session), options))
    except Stop as stop:
        if stop.message:
            show.error(stop.message)
        return stop.code
    except NoController as error:
        show.error(
            f"Error: {error}\n"
            "Is the controller running? Give its address with --controllers or LS_CONTROLLERS."
        )
        return Exit.NO_CONNECTION
    except Insecure as error:
        show.error(f"Error: {error}")
        return Exit.NO_CONNECTION
    except TimedOut as error:
        show.error(
            f"Error: {error}\nThe command may still be carried out: look at the state before you repeat it."
        )
        return Exit.TIMEOUT
    except BadReply as error:
        show.error(f"Error: {error}")
        return Exit.BAD_REPLY
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return Exit.OK


def _usage(stop: SystemExit) -> int:
    if isinstance(stop.code, str):
        sys.stderr.write(stop.code + "\n")
        return Exit.USAGE
    return int(stop.code or 0)


def _context(options: argparse.Namespace, show: Show, session: Session | None) -> Context:
    try:
        urls = controller_urls(controllers_of(options.controllers))
    except ValueError as error:
        raise Stop(Exit.USAGE, str(error)) from error
    client = RestClient(
        urls,
        timeout_s=options.timeout,
        token=token_of(options.auth_token, options.auth_token_file, files=not options.disable_config),
        tls=Tls(options.certfile, options.keyfile, authority_of(options.cafile)),
        allow_insecure_auth=options.allow_insecure_auth,
    )
    chosen = Options(options.machine_readable, options.output_version, options.curl, options.warn_as_error)
    return Context(client, show, chosen, session)


if __name__ == "__main__":
    sys.exit(main())

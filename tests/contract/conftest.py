"""Fixtures of the contract suites."""

import itertools
from collections.abc import Iterator

import pytest

from contract.postgres_server import find_programs, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server program (initdb, postgres) on PATH or in /usr/lib/postgresql")
    with running_server(programs) as dsn:
        yield dsn


_numbers = itertools.count()


@pytest.fixture
def postgres_dsn(server: str) -> str:
    import psycopg

    name = f"t{next(_numbers)}"
    with psycopg.connect(server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.replace("@/?", f"@/{name}?")

"""The program over a real PostgreSQL server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.postgres_server import find_programs, running_server
from unit.controller.test_app import Exit, refused, running


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server program (initdb, postgres) on PATH or in /usr/lib/postgresql")
    with running_server(programs) as server:
        yield server.replace("@/?", "@/postgres?")


@pytest.mark.postgres
def test_it_serves_keeps_and_refuses_a_second_one(dsn: str, tmp_path: Path) -> None:
    flags = ("--database", dsn)
    with running(tmp_path / "a", *flags) as controller:
        body = {"resource_definition": {"name": "r1"}}
        assert controller.call("POST", "/v1/resource-definitions", body)[0] == 201
        code, words = refused("--state-dir", str(tmp_path / "b"), "--rest-bind", "127.0.0.1:0", *flags)
        assert code == Exit.DATABASE
        assert "Another controller has the database" in words
        assert controller.end() == Exit.STOPPED
    with running(tmp_path / "b", *flags) as controller:
        _, found = controller.call("GET", "/v1/resource-definitions")
        assert [it["name"] for it in found] == ["r1"]
        assert not (tmp_path / "b" / "controller.db").exists()
        controller.end()


@pytest.mark.postgres
def test_a_controller_that_was_overtaken_ends(dsn: str, tmp_path: Path) -> None:
    """Its claim is lost with its connection; when another one has written since, it must not go on."""
    import psycopg

    with running(tmp_path, "--database", dsn) as controller:
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute("UPDATE state SET revision = revision + 1")
        status, answer = controller.call("POST", "/v1/resource-groups", {"name": "g1"})
        assert status >= 500
        assert "Another controller has written" in str(answer) or "revision" in str(answer)
        assert controller.process.wait(30) == Exit.OVERTAKEN
        controller.end(0)

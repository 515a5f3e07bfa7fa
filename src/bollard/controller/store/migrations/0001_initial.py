"""The first schema: documents by kind and key, one revision, quarantine, error reports."""

from bollard.controller.store.database import Database


def apply(database: Database) -> None:
    """Make the tables and the row that holds the revision."""
    for statement in (
        "CREATE TABLE schema_version (number INTEGER NOT NULL)",
        "CREATE TABLE state (revision BIGINT NOT NULL)",
        (
            "CREATE TABLE record (kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, "
            "PRIMARY KEY (kind, key))"
        ),
        (
            "CREATE TABLE quarantine (kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, "
            "reason TEXT NOT NULL, PRIMARY KEY (kind, key))"
        ),
        (
            "CREATE TABLE error_report (id TEXT PRIMARY KEY, at_ms BIGINT NOT NULL, "
            "head TEXT NOT NULL, body TEXT NOT NULL)"
        ),
        "CREATE INDEX error_report_by_time ON error_report (at_ms, id)",
        "INSERT INTO state (revision) VALUES (0)",
    ):
        database.execute(statement)

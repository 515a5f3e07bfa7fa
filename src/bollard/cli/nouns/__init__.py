"""One file a noun: arguments, call, columns."""

from bollard.cli.grammar import Noun, Verb
from bollard.cli.nouns import (
    advise,
    connection,
    controller,
    error_report,
    key_value_store,
    node,
    physical_storage,
    resource,
    resource_definition,
    resource_group,
    storage_pool,
    tools,
    volume,
    volume_definition,
    volume_group,
)

NOUNS: tuple[Noun | Verb, ...] = (
    controller.NOUN,
    node.NOUN,
    storage_pool.NOUN,
    physical_storage.NOUN,
    resource_group.NOUN,
    volume_group.NOUN,
    resource_definition.NOUN,
    volume_definition.NOUN,
    resource.NOUN,
    volume.NOUN,
    connection.NODE_CONNECTION,
    connection.RESOURCE_CONNECTION,
    key_value_store.NOUN,
    error_report.NOUN,
    advise.NOUN,
    *tools.TOOLS,
)

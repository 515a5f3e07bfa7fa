"""What the cluster does by itself after every change of a resource definition: verify, vote, quorum."""

from bollard.domain.answers import Entry
from bollard.domain.ids import Key
from bollard.domain.resources import DiskKind
from bollard.planning import quorum, replicas, tiebreaker
from bollard.planning.draft import Draft
from bollard.planning.upkeep import block_size, granularity, verify_algorithm

__all__ = ["settle"]


def settle(draft: Draft, definitions: list[Key]) -> list[Entry]:
    """Bring the automatic parts of these definitions in line with the draft; says what it did."""
    found: list[Entry] = []
    for key in definitions:
        definition = draft.definition(key)
        if definition is None or not replicas.replicated(definition):
            continue
        before = draft.cluster.resources_of(key)
        after = {resource.node for resource in draft.resources_of(key)}
        if not before and not after:
            continue
        freed = tuple(
            one.node for one in before if one.node not in after and one.disk is not DiskKind.TIE_BREAKER
        )
        for found_out in (verify_algorithm, block_size, granularity):
            found_out.settle(draft, definition)
            definition = draft.definition(key) or definition
        found += tiebreaker.settle(draft, definition, freed=freed)
        settled = draft.definition(key)
        assert settled is not None, key
        found += quorum.settle(draft, settled)
    return found

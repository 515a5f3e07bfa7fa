"""The algorithm for online verify that all nodes of a definition can do, chosen and kept by the cluster.

It is the property `DrbdOptions/auto-verify-alg` of the definition; a `DrbdOptions/Net/verify-alg` that one
sets comes first. Switched off by `DrbdOptions/auto-verify-algo-disable`. Nothing changes while a node has not
said what it can do: a choice made of half the nodes would part the others.
"""

import msgspec

from bollard.domain import props
from bollard.domain.resources import ResourceDefinition
from bollard.planning import effective, replicas
from bollard.planning.draft import Draft

__all__ = ["settle"]


def settle(draft: Draft, definition: ResourceDefinition) -> None:
    """Set, change or remove the property."""
    if not replicas.replicated(definition):
        return
    now = definition.props.get(props.AUTO_VERIFY.key)
    wanted = now
    if props.AUTO_VERIFY_DISABLE.truth(*effective.definition_maps(draft.cluster, definition)):
        wanted = None
    else:
        offers = _offers(draft, definition)
        if offers is not None:
            wanted = _best(offers, _allowed(draft))
    if wanted == now:
        return
    rest = {key: value for key, value in definition.props.items() if key != props.AUTO_VERIFY.key}
    if wanted is not None:
        rest[props.AUTO_VERIFY.key] = wanted
    draft.put(msgspec.structs.replace(definition, props=rest))


def _offers(draft: Draft, definition: ResourceDefinition) -> list[tuple[str, ...]] | None:
    """What each node can do, best first; None when one of them has not said so."""
    found: list[tuple[str, ...]] = []
    for resource in draft.resources_of(definition.name):
        known = draft.world.observed.node(resource.node).capabilities
        if known is None:
            return None
        found.append(known.digests)
    return found or None


def _allowed(draft: Draft) -> set[str]:
    controller = draft.cluster.props()
    lists = (props.VERIFY_ALLOWED.text(controller), props.VERIFY_ALLOWED_USER.text(controller))
    return {name.strip().lower() for text in lists for name in text.replace(",", ";").split(";")} - {""}


def _best(offers: list[tuple[str, ...]], allowed: set[str]) -> str | None:
    """The one that the first node likes most of those that all can do."""
    common = set(offers[0]).intersection(*offers[1:])
    return next((name for name in offers[0] if name in common and name.lower() in allowed), None)

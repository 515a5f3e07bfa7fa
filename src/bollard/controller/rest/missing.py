"""What of LINSTOR's API is not there: one table of endpoints and the capability that each belongs to.

Questions about what does not exist are answered as the original answers them when there is none; all else
is refused, and the refusal names the capability. The docs page is made from this table.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.errors import Subject, Unsupported


class Capability(msgspec.Struct, frozen=True):
    """Something that LINSTOR can do and this release cannot."""

    name: str
    meanwhile: str
    """What a person may do instead."""


class Missing(msgspec.Struct, frozen=True):
    """One endpoint of a missing capability."""

    method: str
    path: str
    capability: Capability
    empty: object = None
    """The answer when the question has one: nothing is there."""
    subject: Subject = Subject.REQUEST


_REACTOR = Capability("control of drbd-reactor", "Call drbd-reactorctl on the node.")
_PROXY = Capability("DRBD Proxy", "Replicate without it.")
_REMOTES = Capability("remotes", "Copy the data with a tool of your own.")
_BACKUPS = Capability("backups and shipping", "Back up from inside the consumer of the volume.")
_SCHEDULES = Capability("schedules", "Run backups from a timer of your own.")
_DATABASE = Capability("database backups through the API", "Copy the database file of a stopped controller.")
_SPACE = Capability("space tracking", "Read /metrics.")

_RD = "/v1/resource-definitions/{resource}"
_R = Subject.REMOTE

TABLE: tuple[Missing, ...] = (
    Missing("POST", "/v1/controller/backup/db", _DATABASE),
    Missing("POST", "/v1/controller/database/export", _DATABASE),
    *(
        Missing("POST", f"/v1/nodes/exec/drbd-reactorctl/{verb}", _REACTOR)
        for verb in ("disable", "enable", "evict", "restart", "status")
    ),
    Missing("PUT", _RD + "/drbd-proxy", _PROXY),
    Missing("POST", _RD + "/drbd-proxy/disable/{node_a}/{node_b}", _PROXY),
    Missing("POST", _RD + "/drbd-proxy/enable/{node_a}/{node_b}", _PROXY),
    Missing("GET", _RD + "/drbd-proxy/properties/info", _PROXY, {}),
    Missing("GET", "/v1/view/backup/queue", _BACKUPS, {}),
    Missing("GET", "/v1/view/schedules-by-resource", _SCHEDULES, {}),
    Missing("GET", "/v1/view/schedules-by-resource/{rscName}", _SCHEDULES, {}),
    Missing("GET", "/v1/remotes", _REMOTES, {}),
    Missing("DELETE", "/v1/remotes", _REMOTES, subject=_R),
    *(Missing("GET", f"/v1/remotes/{kind}", _REMOTES, []) for kind in ("ebs", "linstor", "s3")),
    *(Missing("POST", f"/v1/remotes/{kind}", _REMOTES, subject=_R) for kind in ("ebs", "linstor", "s3")),
    *(
        Missing("PUT", f"/v1/remotes/{kind}/{{remoteName}}", _REMOTES, subject=_R)
        for kind in ("ebs", "linstor", "s3")
    ),
    Missing("GET", "/v1/remotes/{remote_name}/backups", _BACKUPS),
    Missing("POST", "/v1/remotes/{remote_name}/backups", _BACKUPS),
    Missing("DELETE", "/v1/remotes/{remote_name}/backups", _BACKUPS),
    *(
        Missing("POST", f"/v1/remotes/{{remote_name}}/backups/{verb}", _BACKUPS)
        for verb in ("abort", "info", "restore", "ship")
    ),
    Missing("DELETE", "/v1/remotes/{remote_name}/backups/schedule/{schedule_name}/delete", _SCHEDULES),
    Missing("PUT", "/v1/remotes/{remote_name}/backups/schedule/{schedule_name}/disable", _SCHEDULES),
    Missing("PUT", "/v1/remotes/{remote_name}/backups/schedule/{schedule_name}/enable", _SCHEDULES),
    Missing("GET", "/v1/schedules", _SCHEDULES, {}),
    Missing("POST", "/v1/schedules", _SCHEDULES, subject=Subject.SCHEDULE),
    Missing("PUT", "/v1/schedules/{scheduleName}", _SCHEDULES, subject=Subject.SCHEDULE),
    Missing("DELETE", "/v1/schedules/{scheduleName}", _SCHEDULES, subject=Subject.SCHEDULE),
    Missing("GET", "/v1/space-report", _SPACE, {"reportText": "Space tracking is not there."}),
)


def _handler(item: Missing) -> Callable[[Call], Awaitable[Response]]:
    async def answer_empty(call: Call) -> Response:
        """Nothing of this kind is there."""
        _find_named(call)
        return call.json(item.empty)

    async def refuse(call: Call) -> Response:
        """Not there yet."""
        _find_named(call)
        raise Unsupported(
            item.subject,
            item.path,
            f"This release does not have {item.capability.name}",
            cause=f"{item.method} {item.path} belongs to a capability that is not there.",
            correction=item.capability.meanwhile,
        )

    return refuse if item.empty is None else answer_empty


def _find_named(call: Call) -> None:
    """An object that is not there is not found, whatever is asked of it. Raises NotFound."""
    cluster = call.api.service.cluster
    if "resource" in call.names:
        find.definition(cluster, call.names["resource"])
    if "node" in call.names:
        find.node(cluster, call.names["node"])


ROUTES = tuple(
    Route(
        method=item.method,
        path=item.path,
        handler=_handler(item),
        answer=Any,
    )
    for item in TABLE
)

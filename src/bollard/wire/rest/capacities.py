"""Answers to questions about sizes on the public API."""

import msgspec

from bollard.domain.resources import SelectFilter
from bollard.planning.capacity import PoolSet, SizeInfo
from bollard.planning.sizes import THIN_RATIO_DEFAULT
from bollard.wire.rest.answers import ApiCallRc
from bollard.wire.rest.bodies import Body
from bollard.wire.rest.groups import AutoSelectFilter


class QuerySizeInfo(Body, frozen=True, kw_only=True):
    """Of a question what a group can still take."""

    select_filter: AutoSelectFilter | None = None
    ignore_cache_older_than_sec: int | None = None


class CandidateView(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pools that could hold a volume together."""

    storage_pool: str
    max_volume_size_kib: int
    all_thin: bool
    node_names: tuple[str, ...] = ()


class MaxVolumeSizesView(msgspec.Struct, frozen=True, omit_defaults=True):
    """The largest volumes that a filter allows."""

    default_max_oversubscription_ratio: float
    candidates: tuple[CandidateView, ...] = ()


class SpawnResultView(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the next volume would go."""

    node_name: str
    stor_pool_name: str
    stor_pool_oversubscription_ratio: float | None = None


class SpaceInfoView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a group can still take."""

    max_vlm_size_in_kib: int
    available_size_in_kib: int
    capacity_in_kib: int
    default_max_oversubscription_ratio: float
    next_spawn_result: tuple[SpawnResultView, ...] = ()


class QuerySizeInfoView(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer for one group; problems are in the reports."""

    space_info: SpaceInfoView | None = None
    reports: tuple[ApiCallRc, ...] = ()


class QueryAllSizeInfoView(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer for all groups by name."""

    result: dict[str, QuerySizeInfoView] = {}


def max_volume_sizes_view(found: tuple[PoolSet, ...], wanted: SelectFilter) -> MaxVolumeSizesView:
    """The largest volumes; the client multiplies with the ratio where all is thin."""
    return MaxVolumeSizesView(
        default_max_oversubscription_ratio=_ratio(wanted),
        candidates=tuple(CandidateView(each.pool, each.size_kib, each.thin, each.nodes) for each in found),
    )


def size_info_view(info: SizeInfo, wanted: SelectFilter) -> QuerySizeInfoView:
    """What a group can still take."""
    return QuerySizeInfoView(
        SpaceInfoView(
            max_vlm_size_in_kib=info.largest_kib,
            available_size_in_kib=info.available_kib,
            capacity_in_kib=info.capacity_kib,
            default_max_oversubscription_ratio=_ratio(wanted),
            next_spawn_result=tuple(SpawnResultView(each.node, each.pool, each.ratio) for each in info.next),
        )
    )


def _ratio(wanted: SelectFilter) -> float:
    return wanted.overprovision if wanted.overprovision is not None else THIN_RATIO_DEFAULT

"""What a fresh cluster holds."""

from bollard.domain.cluster import Cluster
from bollard.planning.bootstrap import initial_records
from bollard.planning.targets import target_resource
from planning_lab import CountingDraw, Lab


def test_defaults_are_those_of_linstor() -> None:
    cluster = Cluster(initial_records(CountingDraw()))
    props = cluster.props()
    assert cluster.settings is not None
    assert props["Cluster/LocalID"] == cluster.settings.cluster_uuid
    assert props["DrbdOptions/Resource/on-no-quorum"] == "io-error"
    assert props["DrbdOptions/auto-add-quorum-tiebreaker"] == "True"
    assert cluster.groups["DFLTRSCGRP"].select_filter.place_count == 2
    assert set(cluster.pool_definitions) == {"DFLTSTORPOOL", "DFLTDISKLESSSTORPOOL"}


def test_the_defaults_reach_the_engine() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    replication = target_resource(lab.cluster, lab.resources("vol")["n1"]).replication
    assert replication is not None
    assert replication.options == {"Resource/quorum": "majority", "Resource/on-no-quorum": "io-error"}

"""Command x World -> Decision, or a DomainError and nothing has happened. One file per noun."""

from bollard.domain import commands as c
from bollard.domain.answers import Decision
from bollard.domain.errors import Subject, Unsupported
from bollard.planning.assess import assess
from bollard.planning.decide import (
    availability,
    definitions,
    disks,
    encryption,
    evacuations,
    files,
    groups,
    net_interfaces,
    nodes,
    placing,
    pool_definitions,
    pools,
    resources,
    restores,
    settings,
    snapshots,
    tokens,
    volume_definitions,
)
from bollard.planning.world import World

__all__ = ["decide"]


def decide(command: c.Command, world: World) -> Decision:
    """Decide one command against the world as it is. Pure: the caller stores what comes out, or does not.

    Raises a DomainError when the command is refused, Unsupported when it belongs to a capability that is
    not there.
    """
    match command:
        case c.CreateNode() | c.ModifyNode() | c.DeleteNode() | c.LoseNode():
            return nodes.decide(command, world)
        case c.EvacuateNode() | c.EvictNode() | c.RestoreNode():
            return evacuations.decide(command, world)
        case c.CreateNetInterface() | c.ModifyNetInterface() | c.DeleteNetInterface():
            return net_interfaces.decide(command, world)
        case c.CreatePoolDefinition() | c.ModifyPoolDefinition() | c.DeletePoolDefinition():
            return pool_definitions.decide(command, world)
        case c.CreatePool() | c.ModifyPool() | c.DeletePool():
            return pools.decide(command, world)
        case c.CreateGroup() | c.DeleteGroup():
            return groups.decide(command, world)
        case c.CreateVolumeGroup() | c.ModifyVolumeGroup() | c.DeleteVolumeGroup():
            return groups.decide(command, world)
        case c.CreateDefinition() | c.ModifyDefinition() | c.DeleteDefinition():
            return definitions.decide(command, world)
        case c.VerifyDefinition():
            return definitions.decide(command, world)
        case c.CreateVolumeDefinition() | c.ModifyVolumeDefinition() | c.DeleteVolumeDefinition():
            return volume_definitions.decide(command, world)
        case c.SetVolumePassphrase():
            return volume_definitions.decide(command, world)
        case c.CreateResources() | c.ModifyResource() | c.DeleteResource() | c.ModifyVolume():
            return resources.decide(command, world)
        case c.Autoplace() | c.SpawnResource() | c.AdjustGroup() | c.ModifyGroup():
            return placing.decide(command, world)
        case c.MakeAvailable() | c.UnmakeAvailable():
            return availability.decide(command, world)
        case c.ToggleDisk() | c.ActivateResource() | c.DeactivateResource():
            return disks.decide(command, world)
        case c.CreateSnapshots() | c.ModifySnapshot() | c.DeleteSnapshot() | c.RollBack():
            return snapshots.decide(command, world)
        case c.RestoreVolumeDefinitions() | c.RestoreResources() | c.CloneDefinition():
            return restores.decide(command, world)
        case c.ModifyController() | c.ModifyConnection():
            return settings.decide(command, world)
        case c.ModifyKeyValueStore() | c.DeleteKeyValueStore():
            return settings.decide(command, world)
        case c.CreateToken() | c.ModifyToken() | c.RevokeToken():
            return tokens.decide(command, world)
        case c.SetMasterKey():
            return encryption.decide(command, world)
        case c.PutFile() | c.DeleteFile() | c.AttachFile():
            return files.decide(command, world)
        case c.Tick():
            return assess(world, command.definitions, survey=command.survey, balanced=command.balance)
        case _:
            name = type(command).__name__
            raise Unsupported(
                Subject.COMMAND,
                name,
                f"{name} is not supported",
                cause="It belongs to a capability that this version does not have.",
            )

package main

import (
	"context"

	linstor "github.com/LINBIT/golinstor"
	"github.com/LINBIT/golinstor/client"
	"github.com/LINBIT/golinstor/clonestatus"
	"github.com/LINBIT/golinstor/devicelayerkind"
)

// definitions goes through groups' and definitions' calls that spawn() and resources() leave out.
func definitions(ctx context.Context, c *client.Client) {
	check("change group", c.ResourceGroups.Modify(ctx, "g1", client.ResourceGroupModify{
		OverrideProps: map[string]string{"Aux/g": "1"},
	}))
	group, err := c.ResourceGroups.Get(ctx, "g1")
	check("show group", err)
	expect("the group changed", group.Props["Aux/g"] == "1" && group.SelectFilter.PlaceCount == 2)
	check("change volume group", c.ResourceGroups.ModifyVolumeGroup(ctx, "g1", 0, client.VolumeGroupModify{
		OverrideProps: map[string]string{"Aux/v": "1"},
	}))
	volumes, err := c.ResourceGroups.GetVolumeGroups(ctx, "g1")
	check("list volume groups", err)
	expect("the volume group changed", len(volumes) == 1 && volumes[0].Props["Aux/v"] == "1")
	_, err = c.ResourceGroups.GetVolumeGroup(ctx, "g1", 0)
	check("show volume group", err)
	check("create a second volume group", c.ResourceGroups.CreateVolumeGroup(ctx, "g1",
		client.VolumeGroup{VolumeNumber: 1}))
	check("delete volume group", c.ResourceGroups.DeleteVolumeGroup(ctx, "g1", 1))
	_, err = c.ResourceGroups.GetPropsInfos(ctx)
	undecodable("properties of groups", err)
	_, err = c.ResourceGroups.GetVolumeGroupPropsInfos(ctx, "g1")
	undecodable("properties of volume groups", err)
	check("adjust group", c.ResourceGroups.Adjust(ctx, "g1", client.ResourceGroupAdjust{}))
	check("adjust all groups", c.ResourceGroups.AdjustAll(ctx, client.ResourceGroupAdjust{}))

	check("create definition", c.ResourceDefinitions.Create(ctx, client.ResourceDefinitionCreate{
		ResourceDefinition: client.ResourceDefinition{Name: "d1"},
	}))
	check("change definition", c.ResourceDefinitions.Modify(ctx, "d1", override("Aux/d", "1")))
	definition, err := c.ResourceDefinitions.Get(ctx, "d1")
	check("show definition", err)
	expect("the definition changed", definition.Props["Aux/d"] == "1")
	check("create volume definition", c.ResourceDefinitions.CreateVolumeDefinition(ctx, "d1",
		client.VolumeDefinitionCreate{VolumeDefinition: client.VolumeDefinition{SizeKib: 8192}}))
	check("create volume definition", c.ResourceDefinitions.CreateVolumeDefinition(ctx, "d1",
		client.VolumeDefinitionCreate{VolumeDefinition: client.VolumeDefinition{SizeKib: 4096}}))
	check("delete volume definition", c.ResourceDefinitions.DeleteVolumeDefinition(ctx, "d1", 1))
	_, err = c.ResourceDefinitions.GetVolumeDefinition(ctx, "d1", 1)
	expect("the volume definition is gone", err == client.NotFoundError)
	_, err = c.ResourceDefinitions.GetPropsInfos(ctx)
	undecodable("properties of definitions", err)
	_, err = c.ResourceDefinitions.GetDRBDProxyPropsInfos(ctx, "d1")
	undecodable("properties of DRBD Proxy", err)
	_, err = c.Resources.GetVolumeDefinitionPropsInfos(ctx, "d1")
	undecodable("properties of volume definitions", err)

	check("create resource", c.Resources.Create(ctx, client.ResourceCreate{
		Resource: client.Resource{Name: "d1", NodeName: "n1", Props: map[string]string{"StorPoolName": "pthin"}},
	}))
	listed, err := c.ResourceDefinitions.GetVolumeDefinitions(ctx, "d1")
	check("list volume definitions", err)
	minor := int32(0)
	for _, layer := range listed[0].LayerData {
		if layer.Data != nil && layer.Type == devicelayerkind.Drbd {
			minor = layer.Data.(*client.DrbdVolumeDefinition).MinorNumber
		}
	}
	expect("a minor number", len(listed) == 1 && minor >= 1000)
	synced := eventually(func() bool {
		status, err := c.ResourceDefinitions.SyncStatus(ctx, "d1")
		return err == nil && status.SyncedOnAll
	})
	expect("in sync", synced)
}

// places moves the one replica of d1 about.
func places(ctx context.Context, c *client.Client) {
	check("change resource", c.Resources.Modify(ctx, "d1", "n1", override("Aux/r", "1")))
	one, err := c.Resources.Get(ctx, "d1", "n1")
	check("show resource", err)
	expect("the resource changed", one.Props["Aux/r"] == "1")
	all, err := c.Resources.GetAll(ctx, "d1")
	check("list resources", err)
	expect("one replica", len(all) == 1)
	check("change volume", c.Resources.ModifyVolume(ctx, "d1", "n1", 0, override("Aux/v", "1")))
	volume, err := c.Resources.GetVolume(ctx, "d1", "n1", 0)
	check("show volume", err)
	expect("the volume changed", volume.Props["Aux/v"] == "1" && volume.DevicePath != "")
	_, err = c.Resources.GetVolumes(ctx, "d1", "n1")
	check("list volumes", err)
	_, err = c.Resources.GetPropsInfos(ctx, "d1")
	undecodable("properties of resources", err)
	_, err = c.Resources.GetVolumePropsInfos(ctx, "d1", "n1")
	undecodable("properties of volumes", err)
	_, err = c.Resources.GetConnectionPropsInfos(ctx, "d1")
	undecodable("properties of connections", err)

	diskless := client.ResourceCreate{
		Resource: client.Resource{Name: "d1", NodeName: "n2", Flags: []string{linstor.FlagDiskless}},
	}
	check("create diskless resource", c.Resources.Create(ctx, diskless))
	check("give it a disk", c.Resources.Diskful(ctx, "d1", "n2", "pthin", nil))
	expect("it has a disk", eventually(func() bool { return disk(ctx, c, "d1", "n2") == "UpToDate" }))
	check("take the disk away", c.Resources.Diskless(ctx, "d1", "n2", ""))
	expect("it is diskless", eventually(func() bool { return disk(ctx, c, "d1", "n2") == "Diskless" }))
	check("migrate", c.Resources.Migrate(ctx, "d1", "n1", "n2", "pthin"))
	expect("the disk moved", eventually(func() bool {
		_, err := c.Resources.Get(ctx, "d1", "n1")
		return disk(ctx, c, "d1", "n2") == "UpToDate" && (err == client.NotFoundError || disk(ctx, c, "d1", "n1") == "Diskless")
	}))
	check("deactivate", c.Resources.Deactivate(ctx, "d1", "n2"))
	check("activate", c.Resources.Activate(ctx, "d1", "n2"))
	refused("DRBD Proxy", c.Resources.ModifyDRBDProxy(ctx, "d1", client.DrbdProxyModify{}))
	refused("DRBD Proxy", c.Resources.EnableDRBDProxy(ctx, "d1", "n1", "n2"))
	refused("DRBD Proxy", c.Resources.DisableDRBDProxy(ctx, "d1", "n1", "n2"))
	check("delete definition", c.ResourceDefinitions.Delete(ctx, "d1"))
}

// disk is the state of a volume's disk; empty while there is none.
func disk(ctx context.Context, c *client.Client, name, node string) string {
	view, err := c.Resources.GetResourceView(ctx, &client.ListOpts{Resource: []string{name}, Node: []string{node}})
	if err != nil || len(view) != 1 || len(view[0].Volumes) == 0 {
		return ""
	}
	return view[0].Volumes[0].State.DiskState
}

// snapshots takes, restores, rolls back, clones and deletes, of r1.
func snapshots(ctx context.Context, c *client.Client) {
	check("take snapshot", c.Resources.CreateSnapshot(ctx, client.Snapshot{Name: "s1", ResourceName: "r1"}))
	expect("the snapshot is there", eventually(func() bool { return taken(ctx, c, "r1", "s1") }))
	err := c.Resources.CreateSnapshot(ctx, client.Snapshot{Name: "s1", ResourceName: "r1"})
	expect("taken again, it exists", client.IsApiCallError(err, linstor.FailExistsSnapshotDfn))
	check("take several", c.Resources.CreateSnapshots(ctx, client.Snapshot{Name: "s2", ResourceName: "r1"}))
	expect("they are there", eventually(func() bool { return taken(ctx, c, "r1", "s2") }))
	all, err := c.Resources.GetSnapshots(ctx, "r1")
	check("list snapshots of a definition", err)
	expect("two snapshots", len(all) == 2)
	view, err := c.Resources.GetSnapshotView(ctx, &client.ListOpts{Resource: []string{"r1"}})
	check("view of snapshots", err)
	expect("as many in the view", len(view) == 2 && len(view[0].Snapshots) == len(view[0].Nodes))

	check("define what is restored", c.ResourceDefinitions.Create(ctx, client.ResourceDefinitionCreate{
		ResourceDefinition: client.ResourceDefinition{Name: "r2"},
	}))
	to := client.SnapshotRestore{ToResource: "r2"}
	check("restore volume definitions", c.Resources.RestoreVolumeDefinitionSnapshot(ctx, "r1", "s1", to))
	check("restore resources", c.Resources.RestoreSnapshot(ctx, "r1", "s1", to))
	volume, err := c.ResourceDefinitions.GetVolumeDefinition(ctx, "r2", 0)
	check("show the restored volume", err)
	expect("the restored size", volume.SizeKib == 131072)
	expect("the restored disk", eventually(func() bool { return disk(ctx, c, "r2", all[0].Nodes[0]) == "UpToDate" }))
	check("delete what was restored", c.ResourceDefinitions.Delete(ctx, "r2"))

	missing("roll back to what is not there", c.Resources.RollbackSnapshot(ctx, "r1", "nope"))
	check("roll back", c.Resources.RollbackSnapshot(ctx, "r1", "s2"))
	expect("the disk is back", eventually(func() bool { return disk(ctx, c, "r1", all[0].Nodes[0]) == "UpToDate" }))
	for _, name := range []string{"s1", "s2"} {
		check("delete snapshot", c.Resources.DeleteSnapshot(ctx, "r1", name))
		expect("the snapshot is gone", eventually(func() bool {
			_, err := c.Resources.GetSnapshot(ctx, "r1", name)
			return err == client.NotFoundError
		}))
	}
}

func taken(ctx context.Context, c *client.Client, name, snapshot string) bool {
	found, err := c.Resources.GetSnapshot(ctx, name, snapshot)
	return err == nil && len(found.Flags) == 1 && found.Flags[0] == linstor.FlagSuccessful
}

func clones(ctx context.Context, c *client.Client) {
	started, err := c.ResourceDefinitions.Clone(ctx, "r1", client.ResourceDefinitionCloneRequest{Name: "c1"})
	check("clone", err)
	expect("its name", started.CloneName == "c1" && started.SourceName == "r1" && started.Location != "")
	expect("the clone is complete", eventually(func() bool {
		status, err := c.ResourceDefinitions.CloneStatus(ctx, "r1", "c1")
		return err == nil && status.Status == clonestatus.Complete
	}))
	volume, err := c.ResourceDefinitions.GetVolumeDefinition(ctx, "c1", 0)
	check("show the clone's volume", err)
	expect("the clone's size", volume.SizeKib == 131072)
	_, err = c.ResourceDefinitions.Clone(ctx, "nope", client.ResourceDefinitionCloneRequest{Name: "c2"})
	expect("a clone of nothing", err != nil)
	check("delete clone", c.ResourceDefinitions.Delete(ctx, "c1"))
}

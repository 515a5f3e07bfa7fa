// A program that goes through golinstor's services against a controller with three nodes' satellites
// at 10.99.0.11 to 13. It prints each step and exits with 1 when one of them went wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	linstor "github.com/LINBIT/golinstor"
	"github.com/LINBIT/golinstor/client"
)

var failed bool

func check(step string, err error) {
	if err != nil {
		failed = true
		fmt.Println("FAILED", step, err)
		return
	}
	fmt.Println("ok", step)
}

func expect(step string, found bool) {
	if !found {
		check(step, errors.New("not as expected"))
		return
	}
	check(step, nil)
}

func nodes(ctx context.Context, c *client.Client) {
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("n%d", i)
		link := client.NetInterface{
			Name: "default", Address: net.ParseIP(fmt.Sprintf("10.99.0.1%d", i)),
			SatellitePort: 3366, SatelliteEncryptionType: "PLAIN",
		}
		check("create node", c.Nodes.Create(ctx, client.Node{
			Name: name, Type: "SATELLITE", NetInterfaces: []client.NetInterface{link},
		}))
		check("create pool", c.Nodes.CreateStoragePool(ctx, name, client.StoragePool{
			StoragePoolName: "pthin", ProviderKind: client.FILE_THIN,
			Props: map[string]string{"StorDriver/FileDir": "/srv/recorded/pools/" + name + "/thin"},
		}))
	}
	all, err := c.Nodes.GetAll(ctx)
	check("list nodes", err)
	expect("three nodes online", len(all) == 3 && all[0].ConnectionStatus == "ONLINE")
	_, err = c.Nodes.Get(ctx, "nope")
	expect("a missing node is not found", err == client.NotFoundError)
	pools, err := c.Nodes.GetStoragePoolView(ctx)
	check("list pools", err)
	expect("six pools", len(pools) == 6)
	_, err = c.Nodes.GetPhysicalStorageView(ctx)
	check("list devices", err)
	check("change node", c.Nodes.Modify(ctx, "n1", client.NodeModify{
		GenericPropsModify: client.GenericPropsModify{OverrideProps: map[string]string{"Aux/zone": "a"}},
	}))
}

func spawn(ctx context.Context, c *client.Client) {
	check("create group", c.ResourceGroups.Create(ctx, client.ResourceGroup{
		Name:         "g1",
		SelectFilter: client.AutoSelectFilter{PlaceCount: 2, StoragePoolList: []string{"pthin"}},
	}))
	check("create volume group", c.ResourceGroups.CreateVolumeGroup(ctx, "g1", client.VolumeGroup{}))
	wanted := client.ResourceGroupSpawn{ResourceDefinitionName: "r1", VolumeSizes: []int64{65536}}
	check("spawn", c.ResourceGroups.Spawn(ctx, "g1", wanted))
	err := c.ResourceGroups.Spawn(ctx, "g1", wanted)
	expect("spawned again, it exists", client.IsApiCallError(err, linstor.FailExistsRscDfn))
	_, err = c.ResourceGroups.QuerySizeInfo(ctx, "g1", client.QuerySizeInfoRequest{})
	check("query sizes", err)
	_, err = c.Resources.QueryMaxVolumeSize(ctx, client.AutoSelectFilter{PlaceCount: 2})
	check("query the largest volume", err)
	_, err = c.ResourceGroups.GetAll(ctx)
	check("list groups", err)
}

func resources(ctx context.Context, c *client.Client) {
	view, err := c.Resources.GetResourceView(ctx)
	check("view", err)
	expect("two replicas and a tie-breaker", len(view) == 3)
	upToDate := 0
	for _, each := range view {
		volume := each.Volumes[0]
		data, ok := volume.LayerDataList[0].Data.(*client.DrbdVolume)
		expect("a DRBD layer", ok && data.DrbdVolumeDefinition.MinorNumber >= 1000)
		if volume.State.DiskState == "UpToDate" {
			upToDate++
		}
	}
	expect("two up to date", upToDate == 2)
	definitions, err := c.ResourceDefinitions.GetAll(ctx, client.RDGetAllRequest{WithVolumeDefinitions: true})
	check("list definitions", err)
	expect("one with a volume", len(definitions) == 1 && len(definitions[0].VolumeDefinitions) == 1)
	check("grow", c.ResourceDefinitions.ModifyVolumeDefinition(ctx, "r1", 0, client.VolumeDefinitionModify{
		SizeKib: 131072,
	}))
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("n%d", i)
		check("make available", c.Resources.MakeAvailable(ctx, "r1", name, client.ResourceMakeAvailable{}))
	}
	three := client.AutoPlaceRequest{SelectFilter: client.AutoSelectFilter{PlaceCount: 3}}
	check("place a third", c.Resources.Autoplace(ctx, "r1", three))
	nine := client.AutoPlaceRequest{SelectFilter: client.AutoSelectFilter{PlaceCount: 9}}
	err = c.Resources.Autoplace(ctx, "r1", nine)
	expect("not enough nodes for nine", client.IsApiCallError(err, linstor.FailNotEnoughNodes))
	twoPrimaries := map[string]string{"DrbdOptions/Net/allow-two-primaries": "yes"}
	change := client.GenericPropsModify{OverrideProps: twoPrimaries}
	check("change connection", c.Resources.ModifyConnection(ctx, "r1", "n1", "n2", change))
	_, err = c.Resources.GetConnections(ctx, "r1", "n1", "n2")
	check("list connections", err)
	_, err = c.Resources.GetSnapshotView(ctx)
	check("list snapshots", err)
}

func settings(ctx context.Context, c *client.Client) {
	change := client.GenericPropsModify{OverrideProps: map[string]string{"Aux/x": "y"}}
	version, err := c.Controller.GetVersion(ctx)
	check("version", err)
	expect("version of the API", version.RestApiVersion == "1.28.0")
	check("change controller", c.Controller.Modify(ctx, change))
	properties, err := c.Controller.GetProps(ctx)
	check("list properties", err)
	expect("the property is there", properties["Aux/x"] == "y")
	check("delete property", c.Controller.DeleteProp(ctx, "Aux/x"))
	_, err = c.Controller.GetConfig(ctx)
	check("configuration", err)
	_, err = c.Controller.GetErrorReports(ctx)
	check("error reports", err)
	check("change key-value store", c.KeyValueStore.CreateOrModify(ctx, "kv1", change))
	store, err := c.KeyValueStore.Get(ctx, "kv1")
	check("key-value store", err)
	expect("the key is there", store.Props["Aux/x"] == "y")
	check("delete key-value store", c.KeyValueStore.Delete(ctx, "kv1"))
	_, err = c.Connections.GetNodeConnections(ctx, "", "")
	check("node connections", err)
	_, err = c.Remote.GetAll(ctx)
	check("remotes", err)
}

func clear(ctx context.Context, c *client.Client) {
	check("delete resource", c.Resources.Delete(ctx, "r1", "n3"))
	check("delete definition", c.ResourceDefinitions.Delete(ctx, "r1"))
	check("delete what is not there", c.ResourceDefinitions.Delete(ctx, "r1"))
	check("delete group", c.ResourceGroups.Delete(ctx, "g1"))
	refused("evict a node that answers", c.Nodes.Evict(ctx, "n3"))
	check("evacuate node", c.Nodes.Evacuate(ctx, "n3", client.NodeEvacuate{}))
	check("restore node", c.Nodes.Restore(ctx, "n3", client.NodeRestore{}))
	check("delete node", c.Nodes.Delete(ctx, "n3"))
}

func main() {
	ctx := context.Background()
	base, err := url.Parse(os.Args[1])
	check("address", err)
	c, err := client.NewClient(client.BaseURL(base))
	check("client", err)
	nodes(ctx, c)
	moreOfNodes(ctx, c)
	encryption(ctx, c)
	spawn(ctx, c)
	resources(ctx, c)
	definitions(ctx, c)
	places(ctx, c)
	connections(ctx, c)
	snapshots(ctx, c)
	clones(ctx, c)
	events(ctx, c)
	settings(ctx, c)
	controller(ctx, c)
	remotes(ctx, c)
	loseNode(ctx, c)
	clear(ctx, c)
	if failed {
		os.Exit(1)
	}
}

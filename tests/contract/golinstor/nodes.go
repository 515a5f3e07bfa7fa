package main

import (
	"context"
	"net"

	"github.com/LINBIT/golinstor/client"
)

// interfaces, pools and everything else of nodes that nodes() leaves out.
func moreOfNodes(ctx context.Context, c *client.Client) {
	second := client.NetInterface{Name: "nic2", Address: net.ParseIP("10.98.0.11")}
	check("create interface", c.Nodes.CreateNetInterface(ctx, "n1", second))
	second.Address = net.ParseIP("10.97.0.11")
	check("change interface", c.Nodes.ModifyNetInterface(ctx, "n1", "nic2", second))
	one, err := c.Nodes.GetNetInterface(ctx, "n1", "nic2")
	check("show interface", err)
	expect("its address changed", one.Address.Equal(second.Address) && !one.IsActive)
	all, err := c.Nodes.GetNetInterfaces(ctx, "n1")
	check("list interfaces", err)
	expect("two interfaces", len(all) == 2)
	check("delete interface", c.Nodes.DeleteNetinterface(ctx, "n1", "nic2"))
	_, err = c.Nodes.GetNetInterface(ctx, "n1", "nic2")
	expect("the interface is gone", err == client.NotFoundError)

	check("change pool", c.Nodes.ModifyStoragePool(ctx, "n1", "pthin", override("Aux/p", "1")))
	pool, err := c.Nodes.GetStoragePool(ctx, "n1", "pthin")
	check("show pool", err)
	expect("the pool changed", pool.Props["Aux/p"] == "1" && pool.FreeCapacity > 0)
	pools, err := c.Nodes.GetStoragePools(ctx, "n1")
	check("list pools of a node", err)
	expect("two pools of a node", len(pools) == 2)
	check("create a second pool", c.Nodes.CreateStoragePool(ctx, "n1", client.StoragePool{
		StoragePoolName: "pool2", ProviderKind: client.FILE,
		Props: map[string]string{"StorDriver/FileDir": "/srv/recorded/pools/n1/pool2"},
	}))
	check("delete pool", c.Nodes.DeleteStoragePool(ctx, "n1", "pool2"))
	_, err = c.Nodes.GetStoragePoolPropsInfos(ctx, "n1")
	undecodable("properties of pools", err)
	_, err = c.Nodes.GetPropsInfos(ctx)
	undecodable("properties of nodes", err)
	_, err = c.Nodes.GetPhysicalStorage(ctx, "n1")
	check("devices of a node", err)
	refused("create a pool on a device that is not there", c.Nodes.CreateDevicePool(ctx, "n1",
		client.PhysicalStorageCreate{ProviderKind: client.LVM, DevicePaths: []string{"/dev/nope"}, PoolName: "p3"}))
	missing("create an EBS node", c.Nodes.CreateEbsNode(ctx, "ebs1", "nope"))
	check("reconnect", c.Nodes.Reconnect(ctx, "n1"))
	node, err := c.Nodes.Get(ctx, "n1")
	check("show node", err)
	expect("its property is there", node.Props["Aux/zone"] == "a")

	_, err = c.StoragePoolDefinitions.GetAll(ctx)
	check("list pool definitions", err)
	wanted := client.StoragePoolDefinition{StoragePoolName: "pdef"}
	check("create pool definition", c.StoragePoolDefinitions.Create(ctx, wanted))
	check("change pool definition", c.StoragePoolDefinitions.Modify(ctx, "pdef",
		client.StoragePoolDefinitionModify{GenericPropsModify: override("Aux/d", "1")}))
	found, err := c.StoragePoolDefinitions.Get(ctx, "pdef")
	check("show pool definition", err)
	expect("the pool definition changed", found.Props["Aux/d"] == "1")
	_, err = c.StoragePoolDefinitions.GetPropsInfos(ctx)
	undecodable("properties of pool definitions", err)
	check("delete pool definition", c.StoragePoolDefinitions.Delete(ctx, "pdef"))
}

func loseNode(ctx context.Context, c *client.Client) {
	lost := client.NetInterface{
		Name: "default", Address: net.ParseIP("10.99.0.14"), SatellitePort: 3366, SatelliteEncryptionType: "PLAIN",
	}
	check("create a node that does not answer", c.Nodes.Create(ctx, client.Node{
		Name: "n4", Type: "SATELLITE", NetInterfaces: []client.NetInterface{lost},
	}))
	check("lose node", c.Nodes.Lost(ctx, "n4"))
	_, err := c.Nodes.Get(ctx, "n4")
	expect("the lost node is gone", err == client.NotFoundError)
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	linstor "github.com/LINBIT/golinstor"
	"github.com/LINBIT/golinstor/client"
)

func override(key, value string) client.GenericPropsModify {
	return client.GenericPropsModify{OverrideProps: map[string]string{key: value}}
}

// refused expects entries that say why, not a broken connection or an error inside.
func refused(step string, err error) {
	var entries client.ApiCallError
	expect("refused: "+step, errors.As(err, &entries) && !client.IsApiCallError(err, linstor.FailImplError))
}

// missing expects status 404, which golinstor tells apart without the entries.
func missing(step string, err error) {
	expect("not found: "+step, err == client.NotFoundError)
}

// undecodable expects an object by property, as LINSTOR answers, where golinstor's type wants a list.
func undecodable(step string, err error) {
	var wrong *json.UnmarshalTypeError
	expect(step, errors.As(err, &wrong) && wrong.Value == "object")
}

// eventually asks until it is so, for at most half a minute.
func eventually(so func() bool) bool {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	late := time.After(30 * time.Second)
	for !so() {
		select {
		case <-again.C:
		case <-late:
			return false
		}
	}
	return true
}

func encryption(ctx context.Context, c *client.Client) {
	check("create passphrase", c.Encryption.Create(ctx, client.Passphrase{NewPassphrase: "first one"}))
	refused("a second passphrase", c.Encryption.Create(ctx, client.Passphrase{NewPassphrase: "other one"}))
	change := client.Passphrase{OldPassphrase: "first one", NewPassphrase: "second one"}
	check("change passphrase", c.Encryption.Modify(ctx, change))
	refused("the old passphrase", c.Encryption.Enter(ctx, "first one"))
	check("enter passphrase", c.Encryption.Enter(ctx, "second one"))
}

type sink struct{ bytes.Buffer }

func (*sink) Close() error { return nil }

func controller(ctx context.Context, c *client.Client) {
	_, err := c.Controller.GetPropsInfos(ctx)
	undecodable("properties of the controller", err)
	_, err = c.Controller.GetPropsInfosAll(ctx)
	undecodable("all properties", err)
	_, err = c.Controller.GetErrorReportsSince(ctx, time.Now().Add(-time.Hour))
	check("error reports since", err)
	check("delete error reports", c.Controller.DeleteErrorReports(ctx, client.ErrorReportDelete{Ids: []string{"nope"}}))
	check("make SOS report", c.Controller.CreateSOSReport(ctx))
	var report sink
	check("download SOS report", c.Controller.DownloadSOSReport(ctx, &report))
	expect("a gzip archive", bytes.HasPrefix(report.Bytes(), []byte{0x1f, 0x8b}))
	config, err := c.Controller.GetSatelliteConfig(ctx, "n1")
	check("configuration of a satellite", err)
	config.Log.Level = client.DEBUG
	check("change configuration of a satellite", c.Controller.ModifySatelliteConfig(ctx, "n1", config))

	file := client.ExternalFile{Path: "/etc/bollard-smoke", Content: []byte("content")}
	check("keep file", c.Controller.ModifyExternalFile(ctx, file.Path, file))
	kept, err := c.Controller.GetExternalFile(ctx, file.Path)
	check("show file", err)
	expect("its content", string(kept.Content) == "content")
	files, err := c.Controller.GetExternalFiles(ctx)
	check("list files", err)
	expect("one file", len(files) == 1 && files[0].Path == file.Path)
	_, err = c.Controller.CheckExternalFile(ctx, file.Path, "n1")
	check("check file", err)
	check("attach file", c.ResourceDefinitions.AttachExternalFile(ctx, "r1", file.Path))
	check("detach file", c.ResourceDefinitions.DetachExternalFile(ctx, "r1", file.Path))
	check("delete file", c.Controller.DeleteExternalFile(ctx, file.Path))
	stores, err := c.KeyValueStore.List(ctx)
	check("list key-value stores", err)
	expect("none is left", len(stores) == 0)
}

func connections(ctx context.Context, c *client.Client) {
	check("change node connection", c.Connections.SetNodeConnection(ctx, "n2", "n1", override("Aux/c", "1")))
	nodes, err := c.Connections.GetNodeConnections(ctx, "n1", "n2")
	check("show node connection", err)
	expect("the node connection changed", len(nodes) == 1 && nodes[0].Props["Aux/c"] == "1")
	check("change resource connection", c.Connections.SetResourceConnection(ctx, "r1", "n2", "n1", override("Aux/c", "2")))
	one, err := c.Connections.GetResourceConnection(ctx, "r1", "n2", "n1")
	check("show resource connection", err)
	expect("the resource connection changed", one != nil && one.Props["Aux/c"] == "2")
	all, err := c.Connections.GetResourceConnections(ctx, "r1")
	check("list resource connections", err)
	expect("three of them", len(all) == 3)
}

// events leaves its stream open: to close one while something arrives is more than golinstor can take.
func events(ctx context.Context, c *client.Client) {
	stream, err := c.Events.DRBDPromotion(ctx, "current")
	check("watch promotions", err)
	if err != nil {
		return
	}
	select {
	case event := <-stream.Events:
		expect("a promotion of r1", event.ResourceName == "r1" && event.NodeName != "")
	case <-time.After(30 * time.Second):
		expect("a promotion of r1", false)
	}
}

// remotes and backups are not there: the lists are empty, the rest is refused.
func remotes(ctx context.Context, c *client.Client) {
	to, err := c.Remote.GetAllLinstor(ctx)
	check("remotes of LINSTOR", err)
	s3, err := c.Remote.GetAllS3(ctx)
	check("remotes of S3", err)
	ebs, err := c.Remote.GetAllEbs(ctx)
	check("remotes of EBS", err)
	expect("there are none", len(to)+len(s3)+len(ebs) == 0)
	refused("create remote", c.Remote.CreateLinstor(ctx, client.LinstorRemote{RemoteName: "l", Url: "http://localhost"}))
	refused("create remote", c.Remote.CreateS3(ctx, client.S3Remote{RemoteName: "s"}))
	refused("create remote", c.Remote.CreateEbs(ctx, client.EbsRemote{RemoteName: "e"}))
	refused("change remote", c.Remote.ModifyLinstor(ctx, "l", client.LinstorRemote{}))
	refused("change remote", c.Remote.ModifyS3(ctx, "s", client.S3Remote{}))
	refused("change remote", c.Remote.ModifyEbs(ctx, "e", client.EbsRemote{}))
	refused("delete remote", c.Remote.Delete(ctx, "l"))
	_, err = c.Backup.GetAll(ctx, "l", "", "")
	refused("list backups", err)
	_, err = c.Backup.Create(ctx, "l", client.BackupCreate{RscName: "r1"})
	refused("create backup", err)
	_, err = c.Backup.Info(ctx, "l", client.BackupInfoRequest{SrcRscName: "r1"})
	refused("ask about backup", err)
	_, err = c.Backup.Ship(ctx, "l", client.BackupShipRequest{SrcRscName: "r1", DstRscName: "r9"})
	refused("ship", err)
	refused("restore backup", c.Backup.Restore(ctx, "l", client.BackupRestoreRequest{TargetRscName: "r9", NodeName: "n1"}))
	refused("abort backup", c.Backup.Abort(ctx, "l", client.BackupAbortRequest{RscName: "r1"}))
	refused("delete backups", c.Backup.DeleteAll(ctx, "l", client.BackupDeleteOpts{All: true}))
}

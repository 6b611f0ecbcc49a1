package godo

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/digitalocean/godo"
)

// importImage imports the test's image; the first look at it waits for the import to end.
func importImage(t *testing.T, api *godo.Client) *godo.Image {
	t.Helper()
	request := &godo.CustomImageCreateRequest{
		Name: "alpine", Url: setting(t, "CHILLBOX_IMAGE_URL"), Region: "nyc3", Distribution: "Unknown", Tags: []string{"imported"},
	}
	created := must[*godo.Image](t, 202)(api.Images.Create(ctx, request))
	equal(t, "status", created.Status, "NEW")
	image := must[*godo.Image](t, 200)(api.Images.GetByID(ctx, created.ID))
	equal(t, "status", image.Status, "available")
	equal(t, "error", image.ErrorMessage, "")
	return image
}

func TestImage(t *testing.T) {
	api := client(t)
	image := importImage(t, api)
	transfer := &godo.ActionRequest{"type": "transfer", "region": "ams3"}
	action := must[*godo.Action](t, 201)(api.ImageActions.Transfer(ctx, image.ID, transfer))
	if action.CompletedAt == nil {
		t.Fatalf("%+v", action)
	}
	must[*godo.Action](t, 200)(api.Actions.Get(ctx, action.ID))
	must[*godo.Action](t, 200)(api.ImageActions.Get(ctx, image.ID, action.ID))
	update := &godo.ImageUpdateRequest{Name: "new", Distribution: "Debian", Description: "d"}
	updated := must[*godo.Image](t, 200)(api.Images.Update(ctx, image.ID, update))
	equal(t, "regions", fmt.Sprint(updated.Regions), "[nyc3 ams3]")
	equal(t, "own images", len(must[[]godo.Image](t, 200)(api.Images.ListUser(ctx, all))), 1)
	equal(t, "tagged images", len(must[[]godo.Image](t, 200)(api.Images.ListByTag(ctx, "imported", all))), 1)
	equal(t, "distributions", len(must[[]godo.Image](t, 200)(api.Images.ListDistribution(ctx, all))), 0)
	done(t, 204)(api.Images.Delete(ctx, image.ID))
	equal(t, "status", must[*godo.Image](t, 200)(api.Images.GetByID(ctx, image.ID)).Status, "deleted")
	_, err := api.Images.Delete(ctx, image.ID)
	refused(t, err, 422, "Image Can not delete an already deleted image.")

	bad := &godo.CustomImageCreateRequest{Name: "x", Url: "http://images.test/x.img?query", Region: "nyc3"}
	failed := must[*godo.Image](t, 202)(api.Images.Create(ctx, bad))
	failed = must[*godo.Image](t, 200)(api.Images.GetByID(ctx, failed.ID))
	if failed.Status != "deleted" || !strings.Contains(failed.ErrorMessage, "query") {
		t.Fatalf("%+v", failed)
	}
	done(t, 204)(api.Tags.Delete(ctx, "imported"))
}

// world is what a droplet needs, and the droplet.
type world struct {
	api     *godo.Client
	key     *godo.Key
	vpc     *godo.VPC
	image   *godo.Image
	droplet *godo.Droplet
}

func newWorld(t *testing.T) *world {
	t.Helper()
	api := client(t)
	w := &world{api: api, image: importImage(t, api)}
	w.key = must[*godo.Key](t, 201)(api.Keys.Create(ctx, &godo.KeyCreateRequest{Name: "k", PublicKey: publicKey}))
	w.vpc = must[*godo.VPC](t, 201)(api.VPCs.Create(ctx, &godo.VPCCreateRequest{Name: "vpc", RegionSlug: "nyc3"}))
	return w
}

func (w *world) request() *godo.DropletCreateRequest {
	return &godo.DropletCreateRequest{
		Name: "web-1", Region: "nyc3", Size: "s-1vcpu-512mb-10gb", Image: godo.DropletCreateImage{ID: w.image.ID},
		SSHKeys: []godo.DropletCreateSSHKey{{ID: w.key.ID}}, Tags: []string{"web"}, VPCUUID: w.vpc.ID, UserData: "#!/bin/sh\n",
	}
}

// status polls the droplet as the plugin does: while it is locked its status does not count.
func (w *world) status(t *testing.T, want string) *godo.Droplet {
	t.Helper()
	eventually(t, "droplet is "+want, func() bool {
		w.droplet = must[*godo.Droplet](t, 200)(w.api.Droplets.Get(ctx, w.droplet.ID))
		return !w.droplet.Locked && w.droplet.Status == want
	})
	return w.droplet
}

// wait polls an action as the plugin does: it has ended once it has an end.
func (w *world) wait(t *testing.T, action *godo.Action) {
	t.Helper()
	eventually(t, action.Type, func() bool {
		action = must[*godo.Action](t, 200)(w.api.Actions.Get(ctx, action.ID))
		return action.CompletedAt != nil
	})
	equal(t, action.Type, action.Status, godo.ActionCompleted)
}

func TestDroplet(t *testing.T) {
	w := newWorld(t)
	droplet, response, err := w.api.Droplets.Create(ctx, w.request())
	w.droplet = must[*godo.Droplet](t, 202)(droplet, response, err)
	equal(t, "link", response.Links.Actions[0].Rel, "create")
	create := must[*godo.Action](t, 200)(w.api.Actions.Get(ctx, response.Links.Actions[0].ID))
	equal(t, "resource", create.ResourceID, w.droplet.ID)
	t.Run("create", w.created)
	t.Run("power", w.power)
	t.Run("change", w.change)
	t.Run("tags", w.tags)
	t.Run("firewall", w.firewall)
	t.Run("reserved IP", w.reservedIP)
	t.Run("refused", w.refusals)
	t.Run("delete", w.remove)
}

func (w *world) created(t *testing.T) {
	droplet := w.status(t, "active")
	// The plugin reads these without a check.
	equal(t, "region", droplet.Region.Slug, "nyc3")
	equal(t, "size", droplet.Size.Slug, "s-1vcpu-512mb-10gb")
	equal(t, "image", droplet.Image.ID, w.image.ID)
	equal(t, "vpc", droplet.VPCUUID, w.vpc.ID)
	equal(t, "features", fmt.Sprint(droplet.Features), "[private_networking]")
	equal(t, "urn", droplet.URN(), "do:droplet:"+strconv.Itoa(droplet.ID))
	public, err := droplet.PublicIPv4()
	if err != nil {
		t.Fatal(err)
	}
	private, err := droplet.PrivateIPv4()
	if err != nil {
		t.Fatal(err)
	}
	block := netip.MustParsePrefix(w.vpc.IPRange)
	if !netip.MustParseAddr(public).IsValid() || !block.Contains(netip.MustParseAddr(private)) {
		t.Fatalf("%s %s", public, private)
	}
	equal(t, "by name", len(must[[]godo.Droplet](t, 200)(w.api.Droplets.ListByName(ctx, "web-1", all))), 1)
	equal(t, "by tag", len(must[[]godo.Droplet](t, 200)(w.api.Droplets.ListByTag(ctx, "web", all))), 1)
	equal(t, "all", len(must[[]godo.Droplet](t, 200)(w.api.Droplets.List(ctx, all))), 1)
	must[[]godo.Droplet](t, 200)(w.api.Droplets.Neighbors(ctx, droplet.ID))
	must[[]godo.Image](t, 200)(w.api.Droplets.Snapshots(ctx, droplet.ID, all))
	must[[]godo.Image](t, 200)(w.api.Droplets.Backups(ctx, droplet.ID, all))
	members := must[[]*godo.VPCMember](t, 200)(w.api.VPCs.ListMembers(ctx, w.vpc.ID, nil, all))
	equal(t, "member", members[0].URN, droplet.URN())
	_, err = w.api.VPCs.Delete(ctx, w.vpc.ID)
	refused(t, err, 403, "members")
}

func (w *world) power(t *testing.T) {
	actions := w.api.DropletActions
	w.wait(t, must[*godo.Action](t, 201)(actions.Reboot(ctx, w.droplet.ID)))
	w.wait(t, must[*godo.Action](t, 201)(actions.PowerCycle(ctx, w.droplet.ID)))
	w.wait(t, must[*godo.Action](t, 201)(actions.Shutdown(ctx, w.droplet.ID)))
	w.status(t, "off")
	_, _, err := actions.PowerOff(ctx, w.droplet.ID)
	refused(t, err, 422, "Droplet is already powered off")
	w.wait(t, must[*godo.Action](t, 201)(actions.PowerOn(ctx, w.droplet.ID)))
	w.status(t, "active")
	list := must[[]godo.Action](t, 200)(w.api.Droplets.Actions(ctx, w.droplet.ID, &godo.ListOptions{PerPage: 50}))
	equal(t, "newest action", list[0].Type, "power_on")
	one := must[*godo.Action](t, 200)(actions.Get(ctx, w.droplet.ID, list[0].ID))
	equal(t, "action", one.ID, list[0].ID)
}

// change makes the plugin's in-place updates: name, size, backups.
func (w *world) change(t *testing.T) {
	actions, id := w.api.DropletActions, w.droplet.ID
	w.wait(t, must[*godo.Action](t, 201)(actions.Rename(ctx, id, "web-2")))
	equal(t, "name", w.status(t, "active").Name, "web-2")
	w.wait(t, must[*godo.Action](t, 201)(actions.PowerOff(ctx, id)))
	w.status(t, "off")
	w.wait(t, must[*godo.Action](t, 201)(actions.Resize(ctx, id, "s-1vcpu-1gb", false)))
	w.wait(t, must[*godo.Action](t, 201)(actions.PowerOn(ctx, id)))
	equal(t, "size", w.status(t, "active").SizeSlug, "s-1vcpu-1gb")
	hour := 20
	policy := &godo.DropletBackupPolicyRequest{Plan: "weekly", Weekday: "SUN", Hour: &hour}
	w.wait(t, must[*godo.Action](t, 201)(actions.EnableBackupsWithPolicy(ctx, id, policy)))
	w.wait(t, must[*godo.Action](t, 201)(actions.ChangeBackupPolicy(ctx, id, policy)))
	w.wait(t, must[*godo.Action](t, 201)(actions.EnablePrivateNetworking(ctx, id)))
	equal(t, "features", fmt.Sprint(w.status(t, "active").Features), "[private_networking backups]")
	w.wait(t, must[*godo.Action](t, 201)(actions.DisableBackups(ctx, id)))
	_, _, err := actions.EnableIPv6(ctx, id)
	refused(t, err, 422, "IPv6")
	_, _, err = actions.Snapshot(ctx, id, "s")
	refused(t, err, 501, "snapshot")
}

func (w *world) tags(t *testing.T) {
	must[*godo.Tag](t, 201)(w.api.Tags.Create(ctx, &godo.TagCreateRequest{Name: "blue"}))
	resources := []godo.Resource{{ID: strconv.Itoa(w.droplet.ID), Type: godo.DropletResourceType}}
	done(t, 204)(w.api.Tags.TagResources(ctx, "blue", &godo.TagResourcesRequest{Resources: resources}))
	equal(t, "tags", fmt.Sprint(w.status(t, "active").Tags), "[web blue]")
	equal(t, "count", must[*godo.Tag](t, 200)(w.api.Tags.Get(ctx, "blue")).Resources.Droplets.Count, 1)
	done(t, 204)(w.api.Tags.UntagResources(ctx, "blue", &godo.UntagResourcesRequest{Resources: resources}))
	equal(t, "tags", fmt.Sprint(w.status(t, "active").Tags), "[web]")
}

func (w *world) firewall(t *testing.T) {
	request := &godo.FirewallRequest{
		Name: "web", Tags: []string{"web"}, DropletIDs: []int{},
		InboundRules: []godo.InboundRule{{Protocol: "tcp", PortRange: "22", Sources: &godo.Sources{DropletIDs: []int{w.droplet.ID}}}},
	}
	firewall := must[*godo.Firewall](t, 202)(w.api.Firewalls.Create(ctx, request))
	equal(t, "droplets of its own", len(firewall.DropletIDs), 0)
	list := must[[]godo.Firewall](t, 200)(w.api.Firewalls.ListByDroplet(ctx, w.droplet.ID, all))
	equal(t, "firewall", list[0].ID, firewall.ID)
	done(t, 204)(w.api.Firewalls.AddDroplets(ctx, firewall.ID, w.droplet.ID))
	read := must[*godo.Firewall](t, 200)(w.api.Firewalls.Get(ctx, firewall.ID))
	equal(t, "droplets of its own", fmt.Sprint(read.DropletIDs), fmt.Sprint([]int{w.droplet.ID}))
	done(t, 204)(w.api.Firewalls.RemoveDroplets(ctx, firewall.ID, w.droplet.ID))
	done(t, 204)(w.api.Firewalls.Delete(ctx, firewall.ID))
}

func (w *world) reservedIP(t *testing.T) {
	reserved := must[*godo.ReservedIP](t, 202)(w.api.ReservedIPs.Create(ctx, &godo.ReservedIPCreateRequest{Region: "nyc3"}))
	equal(t, "region", reserved.Region.Slug, "nyc3")
	// The plugin waits until no action of the droplet is pending.
	for _, action := range must[[]godo.Action](t, 200)(w.api.Droplets.Actions(ctx, w.droplet.ID, &godo.ListOptions{PerPage: 50})) {
		equal(t, action.Type, action.Status, godo.ActionCompleted)
	}
	actions := w.api.ReservedIPActions
	action := must[*godo.Action](t, 201)(actions.Assign(ctx, reserved.IP, w.droplet.ID))
	equal(t, "assign", must[*godo.Action](t, 200)(actions.Get(ctx, reserved.IP, action.ID)).Status, godo.ActionCompleted)
	read := must[*godo.ReservedIP](t, 200)(w.api.ReservedIPs.Get(ctx, reserved.IP))
	equal(t, "region of its droplet", read.Droplet.Region.Slug, "nyc3")
	action = must[*godo.Action](t, 201)(actions.Unassign(ctx, reserved.IP))
	equal(t, "unassign", must[*godo.Action](t, 200)(actions.Get(ctx, reserved.IP, action.ID)).Status, godo.ActionCompleted)
	equal(t, "actions", len(must[[]godo.Action](t, 200)(actions.List(ctx, reserved.IP, all))), 2)
	equal(t, "reserved", len(must[[]godo.ReservedIP](t, 200)(w.api.ReservedIPs.List(ctx, all))), 1)
	done(t, 204)(w.api.ReservedIPs.Delete(ctx, reserved.IP))
	_, _, err := w.api.ReservedIPs.Get(ctx, reserved.IP)
	gone(t, err)
}

// refusals: what DigitalOcean does not do with custom images has to show here, not in production.
func (w *world) refusals(t *testing.T) {
	try := func(status int, text string, change func(*godo.DropletCreateRequest)) {
		t.Helper()
		request := w.request()
		change(request)
		_, _, err := w.api.Droplets.Create(ctx, request)
		refused(t, err, status, text)
	}
	try(422, "SSH key", func(r *godo.DropletCreateRequest) { r.SSHKeys = nil })
	try(422, "IPv6", func(r *godo.DropletCreateRequest) { r.IPv6 = true })
	try(422, "Monitoring", func(r *godo.DropletCreateRequest) { r.Monitoring = true })
	try(422, "invalid image", func(r *godo.DropletCreateRequest) { r.Image = godo.DropletCreateImage{Slug: "ubuntu-24-04-x64"} })
	try(422, "64 KiB", func(r *godo.DropletCreateRequest) { r.UserData = strings.Repeat("x", 64*1024+1) })
	try(501, "volumes", func(r *godo.DropletCreateRequest) { r.Volumes = []godo.DropletCreateVolume{{ID: "x"}} })
}

func (w *world) remove(t *testing.T) {
	api := w.api
	done(t, 204)(api.Droplets.Delete(ctx, w.droplet.ID))
	_, _, err := api.Droplets.Get(ctx, w.droplet.ID)
	gone(t, err)
	_, err = api.Droplets.Delete(ctx, w.droplet.ID)
	gone(t, err)
	eventually(t, "the VPC is left", func() bool {
		_, err := api.VPCs.Delete(ctx, w.vpc.ID)
		return err == nil
	})
	done(t, 204)(api.Images.Delete(ctx, w.image.ID))
	done(t, 204)(api.Keys.DeleteByID(ctx, w.key.ID))
}

func TestSeveralDroplets(t *testing.T) {
	w := newWorld(t)
	one := w.request()
	request := &godo.DropletMultiCreateRequest{
		Names: []string{"a", "b"}, Region: one.Region, Size: one.Size, Image: one.Image, SSHKeys: one.SSHKeys, VPCUUID: one.VPCUUID,
	}
	for _, droplet := range must[[]godo.Droplet](t, 202)(w.api.Droplets.CreateMultiple(ctx, request)) {
		w.droplet = &droplet
		w.status(t, "active")
		done(t, 204)(w.api.Droplets.Delete(ctx, droplet.ID))
	}
	eventually(t, "the VPC is left", func() bool {
		_, err := w.api.VPCs.Delete(ctx, w.vpc.ID)
		return err == nil
	})
	done(t, 204)(w.api.Images.Delete(ctx, w.image.ID))
	done(t, 204)(w.api.Keys.DeleteByID(ctx, w.key.ID))
}

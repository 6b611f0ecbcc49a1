package godo

import (
	"fmt"
	"net/http"
	"reflect"
	"testing"

	"github.com/digitalocean/godo"
)

// publicKey is valid; its private half was thrown away.
const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFFXiKEWCaXhc/inab4Tj+/jTSO2TM8DorxNum01RJdH godo\n"

func TestAccount(t *testing.T) {
	api := client(t)
	account := must[*godo.Account](t, 200)(api.Account.Get(ctx))
	if account.DropletLimit < 1 || account.UUID == "" {
		t.Fatalf("%+v", account)
	}
	regions := must[[]godo.Region](t, 200)(api.Regions.List(ctx, all))
	sizes := must[[]godo.Size](t, 200)(api.Sizes.List(ctx, all))
	if len(regions) < 10 || sizes[0].Slug != "s-1vcpu-512mb-10gb" || sizes[0].PriceMonthly != 4 {
		t.Fatalf("%d regions, first size %+v", len(regions), sizes[0])
	}
	must[[]godo.Snapshot](t, 200)(api.Snapshots.List(ctx, all))
}

func TestWrongToken(t *testing.T) {
	api := newClient(t, "dop_v1_wrong")
	_, _, err := api.Account.Get(ctx)
	refused(t, err, http.StatusUnauthorized, "Unable to authenticate you")
}

func TestNotImplemented(t *testing.T) {
	_, _, err := client(t).Storage.CreateVolume(ctx, &godo.VolumeCreateRequest{Name: "v", Region: "nyc3", SizeGigaBytes: 1})
	refused(t, err, http.StatusNotImplemented, "does not have this")
}

func TestPages(t *testing.T) {
	api := client(t)
	for index := range 5 {
		must[*godo.Tag](t, 201)(api.Tags.Create(ctx, &godo.TagCreateRequest{Name: fmt.Sprintf("page-%d", index)}))
	}
	seen := 0
	for options := (&godo.ListOptions{PerPage: 2}); ; {
		tags, response, err := api.Tags.List(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(tags)
		if response.Links == nil || response.Links.IsLastPage() {
			equal(t, "total", response.Meta.Total, seen)
			break
		}
		page, err := response.Links.CurrentPage()
		if err != nil {
			t.Fatal(err)
		}
		options.Page = page + 1
	}
	if seen < 5 {
		t.Fatalf("%d tags", seen)
	}
	for index := range 5 {
		done(t, 204)(api.Tags.Delete(ctx, fmt.Sprintf("page-%d", index)))
	}
}

func TestSSHKey(t *testing.T) {
	api := client(t)
	key := must[*godo.Key](t, 201)(api.Keys.Create(ctx, &godo.KeyCreateRequest{Name: "one", PublicKey: publicKey}))
	equal(t, "public key", key.PublicKey, publicKey)
	equal(t, "key", *must[*godo.Key](t, 200)(api.Keys.GetByID(ctx, key.ID)), *key)
	equal(t, "key", *must[*godo.Key](t, 200)(api.Keys.GetByFingerprint(ctx, key.Fingerprint)), *key)
	_, _, err := api.Keys.Create(ctx, &godo.KeyCreateRequest{Name: "two", PublicKey: publicKey})
	refused(t, err, 422, "already in use")
	renamed := must[*godo.Key](t, 200)(api.Keys.UpdateByID(ctx, key.ID, &godo.KeyUpdateRequest{Name: "two"}))
	equal(t, "name", renamed.Name, "two")
	if len(must[[]godo.Key](t, 200)(api.Keys.List(ctx, all))) < 1 {
		t.Fatal("not listed")
	}
	done(t, 204)(api.Keys.DeleteByID(ctx, key.ID))
	_, _, err = api.Keys.GetByID(ctx, key.ID)
	gone(t, err)
}

func TestVPC(t *testing.T) {
	api := client(t)
	vpc := must[*godo.VPC](t, 201)(api.VPCs.Create(ctx, &godo.VPCCreateRequest{Name: "net", RegionSlug: "nyc3", Description: "d"}))
	equal(t, "urn", vpc.URN, "do:vpc:"+vpc.ID)
	equal(t, "vpc", *must[*godo.VPC](t, 200)(api.VPCs.Get(ctx, vpc.ID)), *vpc)
	isDefault := false
	update := &godo.VPCUpdateRequest{Name: "net2", Description: "e", Default: &isDefault}
	equal(t, "name", must[*godo.VPC](t, 200)(api.VPCs.Update(ctx, vpc.ID, update)).Name, "net2")
	set := must[*godo.VPC](t, 200)(api.VPCs.Set(ctx, vpc.ID, godo.VPCSetDescription("f")))
	equal(t, "description", set.Description, "f")
	must[[]*godo.VPC](t, 200)(api.VPCs.List(ctx, all))
	members := must[[]*godo.VPCMember](t, 200)(api.VPCs.ListMembers(ctx, vpc.ID, &godo.VPCListMembersRequest{}, all))
	equal(t, "members", len(members), 0)
	done(t, 204)(api.VPCs.Delete(ctx, vpc.ID))
	_, _, err := api.VPCs.Get(ctx, vpc.ID)
	gone(t, err)
}

func TestTag(t *testing.T) {
	api := client(t)
	for range 2 {
		tag := must[*godo.Tag](t, 201)(api.Tags.Create(ctx, &godo.TagCreateRequest{Name: "Made:Twice"}))
		equal(t, "name", tag.Name, "Made:Twice")
	}
	resources := must[*godo.Tag](t, 200)(api.Tags.Get(ctx, "made:twice")).Resources
	// The plugin reads each of these without a check.
	counts := []int{resources.Droplets.Count, resources.Images.Count, resources.Volumes.Count,
		resources.VolumeSnapshots.Count, resources.Databases.Count}
	if !reflect.DeepEqual(counts, make([]int, 5)) {
		t.Fatal(counts)
	}
	done(t, 204)(api.Tags.Delete(ctx, "Made:Twice"))
	_, _, err := api.Tags.Get(ctx, "Made:Twice")
	gone(t, err)
}

func TestFirewall(t *testing.T) {
	api := client(t)
	must[*godo.Tag](t, 201)(api.Tags.Create(ctx, &godo.TagCreateRequest{Name: "behind"}))
	everywhere := []string{"0.0.0.0/0", "::/0"}
	request := &godo.FirewallRequest{
		Name: "edge",
		Tags: []string{"behind"},
		InboundRules: []godo.InboundRule{
			{Protocol: "tcp", PortRange: "22", Sources: &godo.Sources{Addresses: everywhere}},
			{Protocol: "icmp", Sources: &godo.Sources{Tags: []string{"behind"}}},
		},
		OutboundRules: []godo.OutboundRule{
			{Protocol: "udp", PortRange: "all", Destinations: &godo.Destinations{Addresses: everywhere}},
		},
	}
	firewall := must[*godo.Firewall](t, 202)(api.Firewalls.Create(ctx, request))
	read := must[*godo.Firewall](t, 200)(api.Firewalls.Get(ctx, firewall.ID))
	if !reflect.DeepEqual(read, firewall) || read.InboundRules[0].Sources == nil || read.OutboundRules[0].Destinations == nil {
		t.Fatalf("%+v", read)
	}
	equal(t, "ports of all", read.OutboundRules[0].PortRange, "0")
	equal(t, "ports of icmp", read.InboundRules[1].PortRange, "0")
	if !reflect.DeepEqual(read.InboundRules[0].Sources, request.InboundRules[0].Sources) {
		t.Fatalf("%+v", read.InboundRules[0].Sources)
	}
	rules := &godo.FirewallRulesRequest{InboundRules: request.InboundRules[:1]}
	done(t, 204)(api.Firewalls.RemoveRules(ctx, firewall.ID, rules))
	done(t, 204)(api.Firewalls.AddRules(ctx, firewall.ID, rules))
	done(t, 204)(api.Firewalls.RemoveTags(ctx, firewall.ID, "behind"))
	done(t, 204)(api.Firewalls.AddTags(ctx, firewall.ID, "behind"))
	request.InboundRules = nil
	updated := must[*godo.Firewall](t, 200)(api.Firewalls.Update(ctx, firewall.ID, request))
	equal(t, "inbound rules", len(updated.InboundRules), 0)
	equal(t, "listed", len(must[[]godo.Firewall](t, 200)(api.Firewalls.List(ctx, all))), 1)
	done(t, 204)(api.Firewalls.Delete(ctx, firewall.ID))
	done(t, 204)(api.Tags.Delete(ctx, "behind"))
	_, _, err := api.Firewalls.Get(ctx, firewall.ID)
	gone(t, err)
}

func TestProject(t *testing.T) {
	api := client(t)
	standard := must[*godo.Project](t, 200)(api.Projects.GetDefault(ctx))
	request := &godo.CreateProjectRequest{Name: "site", Purpose: "Other: fun", Environment: ""}
	project := must[*godo.Project](t, 201)(api.Projects.Create(ctx, request))
	equal(t, "purpose", project.Purpose, "fun")
	urn := "do:space:some-bucket"
	must[[]godo.ProjectResource](t, 200)(api.Projects.AssignResources(ctx, project.ID, urn))
	resources := must[[]godo.ProjectResource](t, 200)(api.Projects.ListResources(ctx, project.ID, all))
	equal(t, "urn", resources[0].URN, urn)
	update := &godo.UpdateProjectRequest{Name: "site2", Description: "d", Purpose: nil, Environment: "Production", IsDefault: false}
	equal(t, "name", must[*godo.Project](t, 200)(api.Projects.Update(ctx, project.ID, update)).Name, "site2")
	_, err := api.Projects.Delete(ctx, project.ID)
	refused(t, err, 412, "cannot delete a project with resources")
	must[[]godo.ProjectResource](t, 200)(api.Projects.AssignResources(ctx, standard.ID, urn))
	done(t, 204)(api.Projects.Delete(ctx, project.ID))
	_, _, err = api.Projects.Get(ctx, project.ID)
	gone(t, err)
	must[[]godo.Project](t, 200)(api.Projects.List(ctx, all))
}

func TestDomain(t *testing.T) {
	api := client(t)
	domain := must[*godo.Domain](t, 201)(api.Domains.Create(ctx, &godo.DomainCreateRequest{Name: "godo.test", IPAddress: "198.18.0.9"}))
	equal(t, "ttl", domain.TTL, 1800)
	equal(t, "urn", domain.URN(), "do:domain:godo.test")
	edit := &godo.DomainRecordEditRequest{Type: "CNAME", Name: "www", Data: "godo.test."}
	record := must[*godo.DomainRecord](t, 201)(api.Domains.CreateRecord(ctx, "godo.test", edit))
	equal(t, "data", record.Data, "godo.test")
	// The plugin leaves out the type when it changes a record.
	change := &godo.DomainRecordEditRequest{Name: "www", Data: "godo.test.", TTL: 60}
	changed := must[*godo.DomainRecord](t, 200)(api.Domains.EditRecord(ctx, "godo.test", record.ID, change))
	equal(t, "ttl", changed.TTL, 60)
	equal(t, "type", changed.Type, "CNAME")
	equal(t, "record", must[*godo.DomainRecord](t, 200)(api.Domains.Record(ctx, "godo.test", record.ID)).Name, "www")
	equal(t, "all records", len(must[[]godo.DomainRecord](t, 200)(api.Domains.Records(ctx, "godo.test", all))), 6)
	named := must[[]godo.DomainRecord](t, 200)(api.Domains.RecordsByTypeAndName(ctx, "godo.test", "A", "godo.test", all))
	equal(t, "address", named[0].Data, "198.18.0.9")
	must[[]godo.Domain](t, 200)(api.Domains.List(ctx, all))
	done(t, 204)(api.Domains.DeleteRecord(ctx, "godo.test", record.ID))
	_, _, err := api.Domains.Record(ctx, "godo.test", record.ID)
	gone(t, err)
	done(t, 204)(api.Domains.Delete(ctx, "godo.test"))
	_, _, err = api.Domains.Get(ctx, "godo.test")
	gone(t, err)
}

func TestSpacesKey(t *testing.T) {
	api := client(t)
	grants := []*godo.Grant{
		{Bucket: "b-bucket", Permission: godo.SpacesKeyReadWrite},
		{Bucket: "a-bucket", Permission: godo.SpacesKeyRead},
	}
	key := must[*godo.SpacesKey](t, 201)(api.SpacesKeys.Create(ctx, &godo.SpacesKeyCreateRequest{Name: "k", Grants: grants}))
	if key.SecretKey == "" || !reflect.DeepEqual(key.Grants, grants) {
		t.Fatalf("%+v", key)
	}
	read := must[*godo.SpacesKey](t, 200)(api.SpacesKeys.Get(ctx, key.AccessKey))
	if read.SecretKey != "" || !reflect.DeepEqual(read.Grants, grants) {
		t.Fatalf("%+v", read)
	}
	update := &godo.SpacesKeyUpdateRequest{Name: "l", Grants: grants[:1]}
	equal(t, "grants", len(must[*godo.SpacesKey](t, 200)(api.SpacesKeys.Update(ctx, key.AccessKey, update)).Grants), 1)
	must[[]*godo.SpacesKey](t, 200)(api.SpacesKeys.List(ctx, all))
	mixed := append(grants, &godo.Grant{Permission: godo.SpacesKeyFullAccess})
	_, _, err := api.SpacesKeys.Create(ctx, &godo.SpacesKeyCreateRequest{Name: "m", Grants: mixed})
	refused(t, err, 400, "cannot mix fullaccess permission with scoped permissions.")
	done(t, 204)(api.SpacesKeys.Delete(ctx, key.AccessKey))
	_, _, err = api.SpacesKeys.Get(ctx, key.AccessKey)
	gone(t, err)
}

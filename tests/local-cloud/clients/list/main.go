// Command list prints as JSON what an account holds, seen with clients that are not chillbox's own: godo, which doctl and the official plugin
// use, and aws-sdk-go.
//
// Environment: CHILLBOX_API_URL, CHILLBOX_API_TOKEN, HTTP_PROXY, SPACES_ENDPOINT, SPACES_ACCESS_KEY_ID, SPACES_SECRET_ACCESS_KEY.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"
	"github.com/digitalocean/godo"
	"golang.org/x/oauth2"
)

type account struct {
	Droplets  []string
	Images    []string
	Firewalls []string
	Vpcs      []string
	Domains   []string
	// Objects has the keys in each bucket.
	Objects map[string][]string
}

func main() {
	var found account
	listCloud(&found)
	listSpaces(&found)
	check(json.NewEncoder(os.Stdout).Encode(found))
}

func listCloud(found *account) {
	ctx := context.Background()
	token := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: os.Getenv("CHILLBOX_API_TOKEN")})
	client, err := godo.New(oauth2.NewClient(ctx, token), godo.SetBaseURL(os.Getenv("CHILLBOX_API_URL")))
	check(err)
	all := &godo.ListOptions{PerPage: 200}
	droplets, _, err := client.Droplets.List(ctx, all)
	check(err)
	found.Droplets = names(droplets, func(one godo.Droplet) string { return one.Name })
	images, _, err := client.Images.ListUser(ctx, all)
	check(err)
	found.Images = names(images, func(one godo.Image) string { return one.Name })
	firewalls, _, err := client.Firewalls.List(ctx, all)
	check(err)
	found.Firewalls = names(firewalls, func(one godo.Firewall) string { return one.Name })
	vpcs, _, err := client.VPCs.List(ctx, all)
	check(err)
	found.Vpcs = names(vpcs, func(one *godo.VPC) string { return one.Name })
	domains, _, err := client.Domains.List(ctx, all)
	check(err)
	found.Domains = names(domains, func(one godo.Domain) string { return one.Name })
}

func listSpaces(found *account) {
	opened, err := session.NewSession(&aws.Config{
		Region:      aws.String("us-east-1"),
		Credentials: credentials.NewStaticCredentials(os.Getenv("SPACES_ACCESS_KEY_ID"), os.Getenv("SPACES_SECRET_ACCESS_KEY"), ""),
		Endpoint:    aws.String(os.Getenv("SPACES_ENDPOINT")),
	})
	check(err)
	client := s3.New(opened)
	buckets, err := client.ListBuckets(&s3.ListBucketsInput{})
	check(err)
	found.Objects = map[string][]string{}
	for _, bucket := range buckets.Buckets {
		objects, err := client.ListObjectsV2(&s3.ListObjectsV2Input{Bucket: bucket.Name})
		check(err)
		found.Objects[*bucket.Name] = names(objects.Contents, func(one *s3.Object) string { return *one.Key })
	}
}

func names[T any](all []T, name func(T) string) []string {
	result := []string{}
	for _, one := range all {
		result = append(result, name(one))
	}
	return result
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

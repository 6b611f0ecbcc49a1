// Clients other than chillbox's own, against the local DigitalOcean: the two modules of which the official Pulumi plugin is made.
module chillbox.invalid/clients

go 1.24.0

require (
	github.com/aws/aws-sdk-go v1.55.8
	github.com/digitalocean/godo v1.201.0
	golang.org/x/oauth2 v0.27.0
)

require (
	github.com/google/go-querystring v1.1.0 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.7 // indirect
	github.com/jmespath/go-jmespath v0.4.0 // indirect
	golang.org/x/time v0.6.0 // indirect
)

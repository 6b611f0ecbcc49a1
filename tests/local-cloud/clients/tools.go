//go:build tools

// Package clients pins the modules that its packages' tests use, so that `go mod tidy` keeps both.
package clients

import (
	_ "github.com/aws/aws-sdk-go/service/s3"
	_ "github.com/digitalocean/godo"
)

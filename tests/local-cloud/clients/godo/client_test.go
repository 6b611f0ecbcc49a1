// Package godo calls the local DigitalOcean with DigitalOcean's own Go client, as the official Pulumi plugin does.
//
// The server is given by the environment, which tests/local-cloud/api-godo.test.ts sets: CHILLBOX_API_URL, CHILLBOX_API_TOKEN and
// CHILLBOX_IMAGE_URL, the address of a disk image that the server can fetch.
package godo

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/godo"
	"golang.org/x/oauth2"
)

// setting is a variable without which no test can run.
func setting(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run node --test tests/local-cloud/api-godo.test.ts", name)
	}
	return value
}

// newClient is set up as the plugin sets up its own; retries are told apart from failures by taking none.
func newClient(t *testing.T, token string) *godo.Client {
	t.Helper()
	source := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
	client, err := godo.New(
		oauth2.NewClient(context.Background(), source),
		godo.SetBaseURL(setting(t, "CHILLBOX_API_URL")),
		godo.SetUserAgent("Terraform/1.5 (+https://www.terraform.io) terraform-provider-digitalocean/dev"),
	)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func client(t *testing.T) *godo.Client {
	t.Helper()
	return newClient(t, setting(t, "CHILLBOX_API_TOKEN"))
}

// must gives the value of a call that has to succeed with this status.
func must[T any](t *testing.T, status int) func(T, *godo.Response, error) T {
	t.Helper()
	return func(value T, response *godo.Response, err error) T {
		t.Helper()
		done(t, status)(response, err)
		return value
	}
}

// done checks a call that gives no value.
func done(t *testing.T, status int) func(*godo.Response, error) {
	t.Helper()
	return func(response *godo.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != status {
			t.Fatalf("status %d instead of %d", response.StatusCode, status)
		}
		if response.Rate.Limit != 5000 || response.Rate.Reset.Time.Before(time.Now()) {
			t.Fatalf("rate limit headers are missing: %+v", response.Rate)
		}
	}
}

// refused checks that a call was answered with this status and a message that contains text.
func refused(t *testing.T, err error, status int, text string) {
	t.Helper()
	var answer *godo.ErrorResponse
	if !errors.As(err, &answer) {
		t.Fatalf("not refused but: %v", err)
	}
	if answer.Response.StatusCode != status || !strings.Contains(answer.Message, text) {
		t.Fatalf("refused with %d %q instead of %d %q", answer.Response.StatusCode, answer.Message, status, text)
	}
	if answer.RequestID == "" {
		t.Fatal("the answer has no request id")
	}
}

func gone(t *testing.T, err error) {
	t.Helper()
	refused(t, err, http.StatusNotFound, "could not be found")
}

// eventually tries for ten seconds.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if check() {
			return
		}
	}
	t.Fatalf("%s: not within ten seconds", what)
}

var (
	ctx = context.Background()
	all = &godo.ListOptions{Page: 1, PerPage: 200}
)

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v instead of %v", what, got, want)
	}
}

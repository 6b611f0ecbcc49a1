// Package spaces goes through every Spaces call of the official plugin with the module that the plugin is made of, set up as the plugin
// does it: region us-east-1, virtual-hosted style, an endpoint whose names only the HTTP proxy can resolve.
//
// Environment: HTTP_PROXY, SPACES_ENDPOINT (http://nyc3.spaces.test), SPACES_ACCESS_KEY_ID, SPACES_SECRET_ACCESS_KEY.
package spaces

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/awserr"
	"github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"
	"github.com/aws/aws-sdk-go/service/s3/s3manager"
)

func client(t *testing.T) *s3.S3 {
	t.Helper()
	made, err := session.NewSession(&aws.Config{
		Region:      aws.String("us-east-1"),
		Credentials: credentials.NewStaticCredentials(os.Getenv("SPACES_ACCESS_KEY_ID"), os.Getenv("SPACES_SECRET_ACCESS_KEY"), ""),
		Endpoint:    aws.String(os.Getenv("SPACES_ENDPOINT")),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s3.New(made)
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// code is the S3 error code of err and its HTTP status.
func code(err error) string {
	var failure awserr.RequestFailure
	if errors.As(err, &failure) {
		return fmt.Sprintf("%s %d", failure.Code(), failure.StatusCode())
	}
	return fmt.Sprint(err)
}

func expect(t *testing.T, what string, got, wanted any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		t.Errorf("%s: got %v, want %v", what, got, wanted)
	}
}

func newBucket(t *testing.T, s *s3.S3, acl string) *string {
	t.Helper()
	name := aws.String(fmt.Sprintf("go-%s-%d", strings.ToLower(t.Name()), time.Now().UnixNano()))
	must[*s3.CreateBucketOutput](t)(s.CreateBucket(&s3.CreateBucketInput{Bucket: name, ACL: aws.String(acl)}))
	return name
}

func TestBucketCreateReadDelete(t *testing.T) {
	s := client(t)
	bucket := newBucket(t, s, "public-read")
	must[*s3.HeadBucketOutput](t)(s.HeadBucket(&s3.HeadBucketInput{Bucket: bucket}))
	must[*s3.PutBucketAclOutput](t)(s.PutBucketAcl(&s3.PutBucketAclInput{Bucket: bucket, ACL: aws.String("private")}))

	// The SDK sends this one call by path; the answer must be the region's slug.
	location := must[*s3.GetBucketLocationOutput](t)(s.GetBucketLocation(&s3.GetBucketLocationInput{Bucket: bucket}))
	expect(t, "location", aws.StringValue(location.LocationConstraint), "nyc3")
	versioning := must[*s3.GetBucketVersioningOutput](t)(s.GetBucketVersioning(&s3.GetBucketVersioningInput{Bucket: bucket}))
	expect(t, "versioning never set", versioning.Status == nil, true)
	_, err := s.GetBucketLifecycleConfiguration(&s3.GetBucketLifecycleConfigurationInput{Bucket: bucket})
	expect(t, "lifecycle unset", code(err), "NoSuchLifecycleConfiguration 404")

	_, err = s.CreateBucket(&s3.CreateBucketInput{Bucket: bucket})
	expect(t, "create twice", code(err), "BucketAlreadyExists 409")
	buckets := must[*s3.ListBucketsOutput](t)(s.ListBuckets(&s3.ListBucketsInput{}))
	found := 0
	for _, listed := range buckets.Buckets {
		if *listed.Name == *bucket && time.Since(*listed.CreationDate) < time.Hour {
			found++
		}
	}
	expect(t, "listed", found, 1)

	must[*s3.DeleteBucketOutput](t)(s.DeleteBucket(&s3.DeleteBucketInput{Bucket: bucket}))
	_, err = s.HeadBucket(&s3.HeadBucketInput{Bucket: bucket})
	expect(t, "head of a missing bucket", code(err), "NotFound 404")
	_, err = s.GetBucketVersioning(&s3.GetBucketVersioningInput{Bucket: bucket})
	expect(t, "missing bucket", code(err), "NoSuchBucket 404")
}

func TestBucketSettings(t *testing.T) {
	s := client(t)
	bucket := newBucket(t, s, "private")

	rules := []*s3.LifecycleRule{{
		ID: aws.String("tf-s3-lifecycle-2"), Status: aws.String("Enabled"), Filter: &s3.LifecycleRuleFilter{Prefix: aws.String("logs/")},
		Expiration:                     &s3.LifecycleExpiration{Days: aws.Int64(30)},
		AbortIncompleteMultipartUpload: &s3.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int64(3)},
	}, {
		ID: aws.String("tf-s3-lifecycle-1"), Status: aws.String("Disabled"), Filter: &s3.LifecycleRuleFilter{Prefix: aws.String("")},
		NoncurrentVersionExpiration: &s3.NoncurrentVersionExpiration{NoncurrentDays: aws.Int64(7)},
	}}
	must[*s3.PutBucketLifecycleConfigurationOutput](t)(s.PutBucketLifecycleConfiguration(&s3.PutBucketLifecycleConfigurationInput{
		Bucket: bucket, LifecycleConfiguration: &s3.BucketLifecycleConfiguration{Rules: rules},
	}))
	lifecycle := must[*s3.GetBucketLifecycleConfigurationOutput](t)(
		s.GetBucketLifecycleConfiguration(&s3.GetBucketLifecycleConfigurationInput{Bucket: bucket}))
	expect(t, "lifecycle as it was sent", lifecycle.Rules, rules)
	must[*s3.DeleteBucketLifecycleOutput](t)(s.DeleteBucketLifecycle(&s3.DeleteBucketLifecycleInput{Bucket: bucket}))

	_, err := s.GetBucketCors(&s3.GetBucketCorsInput{Bucket: bucket})
	expect(t, "no CORS", code(err), "NoSuchCORSConfiguration 404")
	cors := []*s3.CORSRule{{
		AllowedMethods: aws.StringSlice([]string{"GET"}), AllowedOrigins: aws.StringSlice([]string{"https://hello.test"}),
		AllowedHeaders: aws.StringSlice([]string{"*"}), MaxAgeSeconds: aws.Int64(600),
	}}
	must[*s3.PutBucketCorsOutput](t)(s.PutBucketCors(&s3.PutBucketCorsInput{Bucket: bucket, CORSConfiguration: &s3.CORSConfiguration{CORSRules: cors}}))
	gotCors := must[*s3.GetBucketCorsOutput](t)(s.GetBucketCors(&s3.GetBucketCorsInput{Bucket: bucket}))
	expect(t, "CORS", gotCors.CORSRules, cors)
	must[*s3.DeleteBucketCorsOutput](t)(s.DeleteBucketCors(&s3.DeleteBucketCorsInput{Bucket: bucket}))

	_, err = s.GetBucketPolicy(&s3.GetBucketPolicyInput{Bucket: bucket})
	expect(t, "no policy", code(err), "NoSuchBucketPolicy 404")
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/*"}]}`, *bucket)
	must[*s3.PutBucketPolicyOutput](t)(s.PutBucketPolicy(&s3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String(policy)}))
	gotPolicy := must[*s3.GetBucketPolicyOutput](t)(s.GetBucketPolicy(&s3.GetBucketPolicyInput{Bucket: bucket}))
	expect(t, "policy", aws.StringValue(gotPolicy.Policy), policy)
	must[*s3.DeleteBucketPolicyOutput](t)(s.DeleteBucketPolicy(&s3.DeleteBucketPolicyInput{Bucket: bucket}))

	logs := newBucket(t, s, "private")
	none := must[*s3.GetBucketLoggingOutput](t)(s.GetBucketLogging(&s3.GetBucketLoggingInput{Bucket: bucket}))
	expect(t, "no logging", none.LoggingEnabled == nil, true)
	must[*s3.PutBucketLoggingOutput](t)(s.PutBucketLogging(&s3.PutBucketLoggingInput{
		Bucket: bucket, BucketLoggingStatus: &s3.BucketLoggingStatus{LoggingEnabled: &s3.LoggingEnabled{TargetBucket: logs, TargetPrefix: aws.String("a/")}},
	}))
	logging := must[*s3.GetBucketLoggingOutput](t)(s.GetBucketLogging(&s3.GetBucketLoggingInput{Bucket: bucket}))
	expect(t, "logging", aws.StringValue(logging.LoggingEnabled.TargetPrefix), "a/")

	for _, status := range []string{"Enabled", "Suspended"} {
		must[*s3.PutBucketVersioningOutput](t)(s.PutBucketVersioning(&s3.PutBucketVersioningInput{
			Bucket: bucket, VersioningConfiguration: &s3.VersioningConfiguration{Status: aws.String(status)},
		}))
		got := must[*s3.GetBucketVersioningOutput](t)(s.GetBucketVersioning(&s3.GetBucketVersioningInput{Bucket: bucket}))
		expect(t, "versioning", aws.StringValue(got.Status), status)
	}
}

func TestObjectPutHeadAclDelete(t *testing.T) {
	s := client(t)
	bucket, key := newBucket(t, s, "private"), aws.String("folder/a b+ü%.css")
	// More than 2 MiB: the SDK waits for "100 Continue".
	content := bytes.Repeat([]byte("chillbox"), 400_000)
	sum := md5.Sum(content)
	put := must[*s3.PutObjectOutput](t)(s.PutObject(&s3.PutObjectInput{
		Bucket: bucket, Key: key, Body: bytes.NewReader(content), ACL: aws.String("private"), ContentType: aws.String("text/css"),
		CacheControl: aws.String("public, max-age=31536000, immutable"), Metadata: aws.StringMap(map[string]string{"Color": "blue"}),
	}))
	expect(t, "ETag", aws.StringValue(put.ETag), `"`+hex.EncodeToString(sum[:])+`"`)
	expect(t, "no version", put.VersionId == nil, true)
	head := must[*s3.HeadObjectOutput](t)(s.HeadObject(&s3.HeadObjectInput{Bucket: bucket, Key: key}))
	expect(t, "type", aws.StringValue(head.ContentType), "text/css")
	expect(t, "Cache-Control", aws.StringValue(head.CacheControl), "public, max-age=31536000, immutable")
	expect(t, "length", aws.Int64Value(head.ContentLength), len(content))
	expect(t, "metadata", aws.StringValueMap(head.Metadata), map[string]string{"Color": "blue"})
	expect(t, "ETag of head", aws.StringValue(head.ETag), aws.StringValue(put.ETag))

	must[*s3.PutObjectAclOutput](t)(s.PutObjectAcl(&s3.PutObjectAclInput{Bucket: bucket, Key: key, ACL: aws.String("public-read")}))
	acl := must[*s3.GetObjectAclOutput](t)(s.GetObjectAcl(&s3.GetObjectAclInput{Bucket: bucket, Key: key}))
	expect(t, "grants", len(acl.Grants), 2)

	got := must[*s3.GetObjectOutput](t)(s.GetObject(&s3.GetObjectInput{Bucket: bucket, Key: key}))
	body := must[[]byte](t)(io.ReadAll(got.Body))
	expect(t, "content", bytes.Equal(body, content), true)
	list := must[*s3.ListObjectsOutput](t)(s.ListObjects(&s3.ListObjectsInput{Bucket: bucket, Prefix: aws.String("fol"), Delimiter: aws.String("/")}))
	expect(t, "prefixes", aws.StringValue(list.CommonPrefixes[0].Prefix), "folder/")

	_, err := s.DeleteBucket(&s3.DeleteBucketInput{Bucket: bucket})
	expect(t, "delete while it has objects", code(err), "BucketNotEmpty 409")
	must[*s3.DeleteObjectOutput](t)(s.DeleteObject(&s3.DeleteObjectInput{Bucket: bucket, Key: key}))
	_, err = s.HeadObject(&s3.HeadObjectInput{Bucket: bucket, Key: key})
	expect(t, "head of a missing object", code(err), "NotFound 404")
	_, err = s.GetObject(&s3.GetObjectInput{Bucket: bucket, Key: key})
	expect(t, "get of a missing object", code(err), "NoSuchKey 404")
	must[*s3.DeleteBucketOutput](t)(s.DeleteBucket(&s3.DeleteBucketInput{Bucket: bucket}))
}

// As forceDestroy does it: one page of versions, their deletion, until the bucket can be deleted.
func TestForceDestroy(t *testing.T) {
	for _, versioned := range []bool{false, true} {
		s := client(t)
		bucket := newBucket(t, s, "private")
		if versioned {
			must[*s3.PutBucketVersioningOutput](t)(s.PutBucketVersioning(&s3.PutBucketVersioningInput{
				Bucket: bucket, VersioningConfiguration: &s3.VersioningConfiguration{Status: aws.String("Enabled")},
			}))
		}
		for i := range 3 {
			for range 2 {
				put := must[*s3.PutObjectOutput](t)(s.PutObject(&s3.PutObjectInput{
					Bucket: bucket, Key: aws.String(fmt.Sprintf("a/%d", i)), Body: strings.NewReader("x"),
				}))
				expect(t, "has a version", put.VersionId != nil, versioned)
			}
		}
		must[*s3.DeleteObjectOutput](t)(s.DeleteObject(&s3.DeleteObjectInput{Bucket: bucket, Key: aws.String("a/0")}))
		_, err := s.DeleteBucket(&s3.DeleteBucketInput{Bucket: bucket})
		expect(t, "not empty", code(err), "BucketNotEmpty 409")
		versions := must[*s3.ListObjectVersionsOutput](t)(s.ListObjectVersions(&s3.ListObjectVersionsInput{Bucket: bucket}))
		doomed := []*s3.ObjectIdentifier{}
		for _, version := range versions.Versions {
			doomed = append(doomed, &s3.ObjectIdentifier{Key: version.Key, VersionId: version.VersionId})
			if !versioned {
				expect(t, "id of the only version", aws.StringValue(version.VersionId), "null")
			}
		}
		for _, marker := range versions.DeleteMarkers {
			doomed = append(doomed, &s3.ObjectIdentifier{Key: marker.Key, VersionId: marker.VersionId})
		}
		expect(t, "versions and markers", len(doomed), map[bool]int{false: 2, true: 7}[versioned])
		deleted := must[*s3.DeleteObjectsOutput](t)(s.DeleteObjects(&s3.DeleteObjectsInput{Bucket: bucket, Delete: &s3.Delete{Objects: doomed}}))
		expect(t, "errors", len(deleted.Errors), 0)
		must[*s3.DeleteBucketOutput](t)(s.DeleteBucket(&s3.DeleteBucketInput{Bucket: bucket}))
	}
}

func TestOneVersionDeleted(t *testing.T) {
	s := client(t)
	bucket, key := newBucket(t, s, "private"), aws.String("key")
	must[*s3.PutBucketVersioningOutput](t)(s.PutBucketVersioning(&s3.PutBucketVersioningInput{
		Bucket: bucket, VersioningConfiguration: &s3.VersioningConfiguration{Status: aws.String("Enabled")},
	}))
	first := must[*s3.PutObjectOutput](t)(s.PutObject(&s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("first")}))
	second := must[*s3.PutObjectOutput](t)(s.PutObject(&s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("second")}))
	must[*s3.DeleteObjectOutput](t)(s.DeleteObject(&s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: second.VersionId}))
	got := must[*s3.GetObjectOutput](t)(s.GetObject(&s3.GetObjectInput{Bucket: bucket, Key: key}))
	expect(t, "content", string(must[[]byte](t)(io.ReadAll(got.Body))), "first")
	list := must[*s3.ListObjectVersionsOutput](t)(s.ListObjectVersions(&s3.ListObjectVersionsInput{Bucket: bucket, Prefix: key}))
	expect(t, "versions", len(list.Versions), 1)
	expect(t, "the first", aws.StringValue(list.Versions[0].VersionId), aws.StringValue(first.VersionId))
}

func TestMultipartAndPresigned(t *testing.T) {
	s := client(t)
	bucket, key := newBucket(t, s, "private"), aws.String("big")
	content := bytes.Repeat([]byte("0123456789abcdef"), 700_000)
	uploader := s3manager.NewUploaderWithClient(s, func(u *s3manager.Uploader) { u.PartSize = 5 << 20 })
	must[*s3manager.UploadOutput](t)(uploader.Upload(&s3manager.UploadInput{Bucket: bucket, Key: key, Body: bytes.NewReader(content), ACL: aws.String("public-read")}))
	buffer := aws.NewWriteAtBuffer(nil)
	must[int64](t)(s3manager.NewDownloaderWithClient(s).Download(buffer, &s3.GetObjectInput{Bucket: bucket, Key: key}))
	expect(t, "content", bytes.Equal(buffer.Bytes(), content), true)

	request, _ := s.GetObjectRequest(&s3.GetObjectInput{Bucket: bucket, Key: key, Range: aws.String("bytes=0-15")})
	link := must[string](t)(request.Presign(time.Minute))
	expect(t, "virtual host", strings.HasPrefix(link, "http://"+*bucket+".nyc3.spaces.test/big?"), true)
}

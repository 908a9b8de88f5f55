// Package image tests the image that deploy/image/build makes. tests/image/run builds it twice and says where, in the environment.
package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Where things are: the tree, the image and the one that was built a second time elsewhere, tools.
var (
	tree     = must("IMAGE_TEST_TREE")
	built    = must("IMAGE_TEST_BUILT")
	again    = must("IMAGE_TEST_AGAIN")
	crane    = must("IMAGE_TEST_CRANE")
	auditing = must("IMAGE_TEST_AUDIT_INFO")
	spdx     = must("IMAGE_TEST_SPDX")
)

const (
	repository = "localhost/migrationlink-operator"
	program    = "/migrationlink-operator"
	roots      = "etc/ssl/certs/ca-certificates.crt"
	// Nobody's, as in the images of others that run as such.
	uid = 65532
)

func must(name string) string {
	value := os.Getenv(name)
	if value == "" {
		fmt.Fprintf(os.Stderr, "%s is not set: run tests/image/run\n", name)
		os.Exit(1)
	}
	return value
}

// theImage is the image of a layout, which holds nothing else.
func theImage(t *testing.T, dir string) (v1.Image, v1.Descriptor) {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	check(t, err)
	manifest, err := index.IndexManifest()
	check(t, err)
	if len(manifest.Manifests) != 1 {
		t.Fatalf("one image is expected: %v", manifest.Manifests)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	check(t, err)
	return image, manifest.Manifests[0]
}

// run gives what a command prints; it has to succeed.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	var out, errors bytes.Buffer
	command := exec.Command(name, args...)
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out.Bytes(), errors.Bytes())
	}
	return out.Bytes()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	check(t, err)
	return content
}

func decoded[T any](t *testing.T, text []byte) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return value
}

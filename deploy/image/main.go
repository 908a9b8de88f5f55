// Command image makes the operator's image out of its binary: a root file system, a list of what is in it (SPDX) and an OCI archive. The
// same input gives the same bytes, wherever and whenever it runs. deploy/image/build calls it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

type options struct {
	binary, metadata, lock, license, containerfile, out, name, revision, source string
	epoch                                                                       int64
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "", "static binary, built by cargo-auditable")
	flag.StringVar(&o.metadata, "metadata", "", "file with the output of cargo metadata")
	flag.StringVar(&o.lock, "lock", "", "Cargo.lock")
	flag.StringVar(&o.license, "license", "", "license text")
	flag.StringVar(&o.containerfile, "containerfile", "", "Containerfile")
	flag.StringVar(&o.out, "out", "", "folder for what is made")
	flag.StringVar(&o.name, "name", "", "REPOSITORY:TAG of the image; without a tag it is the version")
	flag.StringVar(&o.revision, "revision", "", "commit that was built, if known")
	flag.StringVar(&o.source, "source", "", "URL of the source, if known")
	flag.Int64Var(&o.epoch, "epoch", 0, "SOURCE_DATE_EPOCH: time of everything, in seconds")
	flag.Parse()
	digest, err := build(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Println(digest)
}

// build makes it and returns the digest of the manifest.
func build(o options) (string, error) {
	created := time.Unix(o.epoch, 0).UTC()
	program, err := readProgram(o.binary)
	if err != nil {
		return "", err
	}
	sbom, version, err := spdx(program, o, created)
	if err != nil {
		return "", err
	}
	license, err := os.ReadFile(o.license)
	if err != nil {
		return "", err
	}
	roots, err := caRoots()
	if err != nil {
		return "", err
	}
	root := filepath.Join(o.out, "rootfs")
	files := []file{
		{"migrationlink-operator", 0o755, program.content},
		// Where rustls-native-certs looks first on Debian's kin, and it needs no variable for that.
		{"etc/ssl/certs/ca-certificates.crt", 0o644, roots},
		{"usr/share/doc/migrationlink-operator/LICENSE", 0o644, license},
		{"usr/share/doc/migrationlink-operator/sbom.spdx.json", 0o644, sbom},
	}
	if err := lay(root, files); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(o.out, "sbom.spdx.json"), sbom, 0o644); err != nil {
		return "", err
	}
	text, err := os.ReadFile(o.containerfile)
	if err != nil {
		return "", err
	}
	args := map[string]string{"VERSION": version, "REVISION": o.revision, "SOURCE": o.source}
	config, err := readContainerfile(string(text), args)
	if err != nil {
		return "", fmt.Errorf("%s: %w", o.containerfile, err)
	}
	layer, err := layer(files, created)
	if err != nil {
		return "", err
	}
	name := o.name
	if !strings.Contains(name[strings.LastIndex(name, "/")+1:], ":") {
		name += ":" + version
	}
	return write(o.out, name, program.architecture, config, layer, created)
}

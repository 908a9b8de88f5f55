package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"crypto/x509"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// The largest that the image may be, compressed.
const largest = 10_000_000

func TestTheLayoutIsValidAndNamed(t *testing.T) {
	image, descriptor := theImage(t, filepath.Join(built, "layout"))
	check(t, validate.Image(image))
	name := descriptor.Annotations["io.containerd.image.name"]
	if name != repository+":"+version(t) {
		t.Errorf("kind would load it as %q", name)
	}
	if tag := descriptor.Annotations["org.opencontainers.image.ref.name"]; tag != version(t) {
		t.Errorf("tag %q", tag)
	}
	if p := descriptor.Platform; p == nil || p.OS != "linux" || p.Architecture != runtime.GOARCH {
		t.Errorf("platform %v", p)
	}
}

func TestTheArchiveIsTheLayoutAndDockerReadsItToo(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Open(filepath.Join(built, "image.tar"))
	check(t, err)
	defer file.Close()
	unpack(t, file, dir)
	image, descriptor := theImage(t, dir)
	check(t, validate.Image(image))
	if _, other := theImage(t, filepath.Join(built, "layout")); other.Digest != descriptor.Digest {
		t.Errorf("%s and %s", descriptor.Digest, other.Digest)
	}
	run(t, crane, "validate", "--tarball", filepath.Join(built, "image.tar"))
	docker, err := tarball.ImageFromPath(filepath.Join(built, "image.tar"), nil)
	check(t, err)
	one, err := docker.ConfigName()
	check(t, err)
	two, err := image.ConfigName()
	check(t, err)
	if one != two {
		t.Errorf("docker would load %s, not %s", one, two)
	}
}

func TestARegistryTakesItAndCraneReadsItBack(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	name := strings.TrimPrefix(server.URL, "http://") + "/migrationlink-operator:test"
	run(t, crane, "push", filepath.Join(built, "layout"), name)
	run(t, crane, "validate", "--remote", name)
	_, descriptor := theImage(t, filepath.Join(built, "layout"))
	if digest := strings.TrimSpace(string(run(t, crane, "digest", name))); digest != descriptor.Digest.String() {
		t.Errorf("%s was pushed, %s is there", descriptor.Digest, digest)
	}

	manifest := decoded[v1.Manifest](t, run(t, crane, "manifest", name))
	size := manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	t.Logf("%d bytes compressed", size)
	if len(manifest.Layers) != 1 || size >= largest {
		t.Errorf("%d layers with %d bytes", len(manifest.Layers), size)
	}

	config := decoded[v1.ConfigFile](t, run(t, crane, "config", name))
	if config.OS != "linux" || config.Architecture != runtime.GOARCH {
		t.Errorf("for %s/%s", config.OS, config.Architecture)
	}
	if config.Config.User != "65532:65532" {
		t.Errorf("user %q", config.Config.User)
	}
	if !slices.Equal(config.Config.Entrypoint, []string{program}) || config.Config.Cmd != nil {
		t.Errorf("entrypoint %q, command %q", config.Config.Entrypoint, config.Config.Cmd)
	}
	labels := config.Config.Labels
	for label, want := range map[string]string{
		"title":       "migrationlink-operator",
		"description": "Kubernetes operator that links Cloud Manager and Ops Manager organizations with Atlas",
		"licenses":    "Apache-2.0",
		"version":     version(t),
		"source":      "https://example.com/source",
	} {
		if is := labels["org.opencontainers.image."+label]; is != want {
			t.Errorf("label %s is %q", label, is)
		}
	}
	// A tree with changes is no commit, and says none.
	if revision := os.Getenv("IMAGE_TEST_REVISION"); labels["org.opencontainers.image.revision"] != revision {
		t.Errorf("revision %q", labels["org.opencontainers.image.revision"])
	}
	if !maps.Equal(labels, manifest.Annotations) {
		t.Errorf("annotations are not the labels: %v", manifest.Annotations)
	}

	exported := filepath.Join(t.TempDir(), "export.tar")
	run(t, crane, "export", name, exported)
	var found []string
	file, err := os.Open(exported)
	check(t, err)
	defer file.Close()
	for header := range entries(t, file) {
		found = append(found, strings.TrimSuffix(header.Name, "/"))
	}
	slices.Sort(found)
	want := []string{
		"etc", "etc/ssl", "etc/ssl/certs", roots, "migrationlink-operator", "usr", "usr/share", "usr/share/doc",
		"usr/share/doc/migrationlink-operator", "usr/share/doc/migrationlink-operator/LICENSE",
		"usr/share/doc/migrationlink-operator/sbom.spdx.json",
	}
	if !slices.Equal(found, want) {
		t.Errorf("there is more or less than no shell: %q", found)
	}
}

func TestNobodyButRootCanChangeAFile(t *testing.T) {
	image, _ := theImage(t, filepath.Join(built, "layout"))
	files := mutate.Extract(image)
	defer files.Close()
	for header := range entries(t, files) {
		mode := int64(0o644)
		if header.Typeflag == tar.TypeDir || header.Name == program[1:] {
			mode = 0o755
		}
		if header.Uid != 0 || header.Gid != 0 || header.Mode != mode {
			t.Errorf("%s: %d:%d, %o", header.Name, header.Uid, header.Gid, header.Mode)
		}
	}
}

func TestTheProgramNeedsNothingBesideIt(t *testing.T) {
	binary, err := elf.NewFile(bytes.NewReader(read(t, extracted(t), program)))
	check(t, err)
	libraries, err := binary.ImportedLibraries()
	check(t, err)
	if len(libraries) != 0 || binary.Type != elf.ET_DYN {
		t.Errorf("it should be static and relocatable: %s with %v", binary.Type, libraries)
	}
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP {
			t.Error("it asks for a dynamic linker")
		}
		if segment.Type == elf.PT_GNU_STACK && segment.Flags&elf.PF_X != 0 {
			t.Error("its stack is executable")
		}
	}
}

func TestTheRootsAreThoseOfPublicAuthorities(t *testing.T) {
	rest := read(t, extracted(t), roots)
	names := map[string]bool{}
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		check(t, err)
		if !certificate.IsCA {
			t.Errorf("%s is none", certificate.Subject)
		}
		names[certificate.Subject.CommonName] = true
	}
	t.Logf("%d certificates", len(names))
	for _, name := range []string{"ISRG Root X1", "DigiCert Global Root G2", "Amazon Root CA 1", "GTS Root R1"} {
		if !names[name] {
			t.Errorf("%s is missing", name)
		}
	}
	if len(names) < 100 {
		t.Errorf("only %d", len(names))
	}
}

func TestTwoBuildsInTwoPlacesGiveOneDigest(t *testing.T) {
	_, one := theImage(t, filepath.Join(built, "layout"))
	_, two := theImage(t, filepath.Join(again, "layout"))
	if one.Digest != two.Digest {
		t.Errorf("%s and %s", one.Digest, two.Digest)
	}
	for _, name := range []string{"image.tar", "sbom.spdx.json", "rootfs" + program} {
		if !bytes.Equal(read(t, built, name), read(t, again, name)) {
			t.Errorf("%s differs", name)
		}
	}
	if bytes.Contains(read(t, built, "rootfs", program), []byte(tree+"/")) {
		t.Errorf("the program tells where it was built: %s", tree)
	}
	if home := os.Getenv("HOME"); home != "" && bytes.Contains(read(t, built, "rootfs", program), []byte(home+"/.cargo")) {
		t.Error("the program tells whose home it was built in")
	}
}

// Buildah is a builder of others: that it makes the same of the Containerfile shows that ours reads it right.
func TestAnotherBuilderMakesTheSameOfTheContainerfile(t *testing.T) {
	dir := t.TempDir()
	storage := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}
	ours, _ := theImage(t, filepath.Join(built, "layout"))
	config, err := ours.ConfigFile()
	check(t, err)
	labels := config.Config.Labels
	buildah := func(args ...string) { run(t, "buildah", append(slices.Clone(storage), args...)...) }
	buildah("build", "--isolation", "chroot", "--tag", "image", "--file", filepath.Join(tree, "deploy/image/Containerfile"),
		"--build-arg", "VERSION="+labels["org.opencontainers.image.version"],
		"--build-arg", "REVISION="+labels["org.opencontainers.image.revision"],
		"--build-arg", "SOURCE="+labels["org.opencontainers.image.source"],
		built)
	policy := filepath.Join(dir, "policy.json")
	check(t, os.WriteFile(policy, []byte(`{"default": [{"type": "insecureAcceptAnything"}]}`), 0o600))
	buildah("push", "--signature-policy", policy, "image", "oci:"+filepath.Join(dir, "oci"))
	theirs, _ := theImage(t, filepath.Join(dir, "oci"))
	other, err := theirs.ConfigFile()
	check(t, err)
	delete(other.Config.Labels, "io.buildah.version")
	// An empty label says the same as none.
	maps.DeleteFunc(other.Config.Labels, func(_, value string) bool { return value == "" })
	if !maps.Equal(labels, other.Config.Labels) {
		t.Errorf("labels: %v, %v", labels, other.Config.Labels)
	}
	one, two := config.Config, other.Config
	if one.User != two.User || !slices.Equal(one.Entrypoint, two.Entrypoint) || !slices.Equal(one.Env, two.Env) ||
		!maps.Equal(one.ExposedPorts, two.ExposedPorts) || config.OS != other.OS || config.Architecture != other.Architecture {
		t.Errorf("%+v\n%+v", one, two)
	}
	if one, two := contents(t, ours), contents(t, theirs); !maps.Equal(one, two) {
		t.Errorf("%v\n%v", slices.Collect(maps.Keys(one)), slices.Collect(maps.Keys(two)))
	}
}

// version is the one that Cargo.toml has.
func version(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^version = "(.*)"$`).FindSubmatch(read(t, tree, "Cargo.toml"))
	if found == nil {
		t.Fatal("Cargo.toml has no version")
	}
	return string(found[1])
}

// contents is what an image holds: mode and content of each file by its path.
func contents(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	files := mutate.Extract(image)
	defer files.Close()
	found := map[string]string{}
	for header, content := range entries(t, files) {
		if header.Typeflag == tar.TypeReg {
			found[strings.TrimPrefix(header.Name, "/")] = header.FileInfo().Mode().String() + " " + string(content)
		}
	}
	return found
}

// entries goes through a tar.
func entries(t *testing.T, file io.Reader) func(func(*tar.Header, []byte) bool) {
	return func(yield func(*tar.Header, []byte) bool) {
		for reader := tar.NewReader(file); ; {
			header, err := reader.Next()
			if err == io.EOF {
				return
			}
			check(t, err)
			content, err := io.ReadAll(reader)
			check(t, err)
			if !yield(header, content) {
				return
			}
		}
	}
}

// unpack writes a tar below a folder.
func unpack(t *testing.T, file io.Reader, dir string) {
	t.Helper()
	for header, content := range entries(t, file) {
		to := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			check(t, os.MkdirAll(to, 0o755))
			continue
		}
		check(t, os.MkdirAll(filepath.Dir(to), 0o755))
		check(t, os.WriteFile(to, content, header.FileInfo().Mode()))
	}
}

// extracted is a folder with what a container of the image finds.
func extracted(t *testing.T) string {
	t.Helper()
	image, _ := theImage(t, filepath.Join(built, "layout"))
	files := mutate.Extract(image)
	defer files.Close()
	// Not t.TempDir: everybody has to get through to it.
	dir, err := os.MkdirTemp("", "image-test-")
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	unpack(t, files, dir)
	return dir
}

// output is what a command prints, and how it ended.
func output(command *exec.Cmd) (string, int) {
	text, _ := command.CombinedOutput()
	return string(text), command.ProcessState.ExitCode()
}

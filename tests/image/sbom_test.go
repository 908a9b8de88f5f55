package image

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type sbom struct {
	Packages []struct {
		Name, VersionInfo, LicenseDeclared, PrimaryPackagePurpose string
		Checksums                                                 []struct{ Algorithm, ChecksumValue string }
		ExternalRefs                                              []struct{ ReferenceLocator string }
	}
	Relationships []struct{ RelationshipType string }
}

// What rust-audit-info, a reader of others, finds in the program is what the SPDX file lists, with a license each.
func TestTheListInTheProgramAndTheListBesideItAreOne(t *testing.T) {
	dir := extracted(t)
	embedded := decoded[struct {
		Packages []struct{ Name, Version string }
	}](t, run(t, auditing, filepath.Join(dir, program)))
	inside := map[string]bool{}
	for _, p := range embedded.Packages {
		inside[p.Name+" "+p.Version] = true
	}
	listed := decoded[sbom](t, read(t, built, "sbom.spdx.json"))
	beside := map[string]bool{}
	for _, p := range listed.Packages {
		ours := p.PrimaryPackagePurpose == "APPLICATION"
		if !ours && (len(p.ExternalRefs) != 1 || len(p.Checksums) > 1) {
			t.Errorf("%+v", p)
		}
		if p.LicenseDeclared == "" || p.LicenseDeclared == "NOASSERTION" {
			t.Errorf("%s has no license", p.Name)
		}
		if !ours && strings.HasPrefix(p.ExternalRefs[0].ReferenceLocator, "pkg:golang/") {
			continue
		}
		if len(p.Checksums) != 1 {
			t.Errorf("%s has no checksum", p.Name)
		}
		beside[p.Name+" "+p.VersionInfo] = true
	}
	t.Logf("%d packages", len(inside))
	if !maps.Equal(inside, beside) {
		t.Errorf("in the program: %q\nin the file: %q", slices.Sorted(maps.Keys(inside)), slices.Sorted(maps.Keys(beside)))
	}
	for _, name := range []string{"migrationlink-operator " + version(t)} {
		if !inside[name] {
			t.Errorf("%s is not in it", name)
		}
	}
	for _, name := range []string{"kube", "rustls", "aws-lc-sys", "tokio", "reqwest"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(inside)), func(p string) bool { return strings.HasPrefix(p, name+" ") }) {
			t.Errorf("%s is not in it", name)
		}
	}
	for _, name := range []string{"proptest", "insta", "axum"} {
		if slices.ContainsFunc(slices.Collect(maps.Keys(inside)), func(p string) bool { return strings.HasPrefix(p, name+" ") }) {
			t.Errorf("%s is of the tests, and in it", name)
		}
	}
	if image := read(t, dir, "usr/share/doc/migrationlink-operator/sbom.spdx.json"); string(image) != string(read(t, built, "sbom.spdx.json")) {
		t.Error("the image has another list")
	}
}

// The validator is the SPDX project's own.
func TestTheListIsValidSPDX(t *testing.T) {
	run(t, spdx, "--infile", filepath.Join(built, "sbom.spdx.json"))
}

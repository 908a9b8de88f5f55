package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
)

// The parts of SPDX 2.3 that are written.
type document struct {
	SPDXVersion       string         `json:"spdxVersion"`
	DataLicense       string         `json:"dataLicense"`
	SPDXID            string         `json:"SPDXID"`
	Name              string         `json:"name"`
	DocumentNamespace string         `json:"documentNamespace"`
	CreationInfo      creation       `json:"creationInfo"`
	Packages          []spdxPackage  `json:"packages"`
	Relationships     []relationship `json:"relationships"`
}

type creation struct {
	Created  time.Time `json:"created"`
	Creators []string  `json:"creators"`
}

type spdxPackage struct {
	SPDXID           string        `json:"SPDXID"`
	Name             string        `json:"name"`
	VersionInfo      string        `json:"versionInfo"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	LicenseConcluded string        `json:"licenseConcluded"`
	LicenseDeclared  string        `json:"licenseDeclared"`
	CopyrightText    string        `json:"copyrightText"`
	Purpose          string        `json:"primaryPackagePurpose,omitempty"`
	Checksums        []checksum    `json:"checksums,omitempty"`
	ExternalRefs     []externalRef `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	unknown     = "NOASSERTION"
	rootsModule = "golang.org/x/crypto/x509roots/fallback"
)

// spdx lists what is in the binary, by the binary's own word, with licenses from `cargo metadata` and checksums from Cargo.lock, and
// beside it the certificates. It also returns the version of the operator.
func spdx(program program, o options, created time.Time) ([]byte, string, error) {
	licenses, err := readLicenses(o.metadata)
	if err != nil {
		return nil, "", err
	}
	checksums, err := readChecksums(o.lock)
	if err != nil {
		return nil, "", err
	}
	hash := digest(program.content)
	result := document{
		SPDXVersion:  "SPDX-2.3",
		DataLicense:  "CC0-1.0",
		SPDXID:       "SPDXRef-DOCUMENT",
		CreationInfo: creation{created, []string{"Tool: migrationlink-operator-deploy-image"}},
	}
	ids := make([]string, len(program.packages))
	for n, p := range program.packages {
		ids[n] = id("Package-cargo", p.Name, p.Version)
	}
	version := ""
	for n, p := range program.packages {
		license, known := licenses[p.Name+" "+p.Version]
		if !known {
			return nil, "", fmt.Errorf("%s %s is in the binary and not in %s", p.Name, p.Version, o.metadata)
		}
		listed := spdxPackage{
			SPDXID:           ids[n],
			Name:             p.Name,
			VersionInfo:      p.Version,
			DownloadLocation: unknown,
			LicenseConcluded: unknown,
			LicenseDeclared:  license,
			CopyrightText:    unknown,
			ExternalRefs:     []externalRef{{"PACKAGE-MANAGER", "purl", "pkg:cargo/" + p.Name + "@" + strings.ReplaceAll(p.Version, "+", "%2B")}},
		}
		if sum := checksums[p.Name+" "+p.Version]; sum != "" {
			listed.Checksums = []checksum{{"SHA256", sum}}
		}
		if p.Root {
			version = p.Version
			result.Name = p.Name + "-" + p.Version + "-linux-" + program.architecture
			// Unique for the content and the time, without anything random.
			seed := digest([]byte(hash + created.String()))
			result.DocumentNamespace = "https://migrationlink.dev/spdx/" + result.Name + "/" + strings.TrimPrefix(seed, "sha256:")
			listed.Purpose = "APPLICATION"
			listed.Checksums = []checksum{{"SHA256", strings.TrimPrefix(hash, "sha256:")}}
			// It is ours, and nowhere to be had by this name.
			listed.ExternalRefs = nil
			result.Relationships = append(result.Relationships, relationship{result.SPDXID, "DESCRIBES", ids[n]})
		}
		result.Packages = append(result.Packages, listed)
		for _, dependency := range p.Dependencies {
			if dependency < 0 || dependency >= len(ids) {
				return nil, "", fmt.Errorf("%s depends on number %d of %d", p.Name, dependency, len(ids))
			}
			if program.packages[dependency].Kind == "build" {
				result.Relationships = append(result.Relationships, relationship{ids[dependency], "BUILD_DEPENDENCY_OF", ids[n]})
			} else {
				result.Relationships = append(result.Relationships, relationship{ids[n], "DEPENDS_ON", ids[dependency]})
			}
		}
	}
	if version == "" {
		return nil, "", fmt.Errorf("the binary's list of packages has no root")
	}
	roots, err := rootsPackage()
	if err != nil {
		return nil, "", err
	}
	result.Packages = append(result.Packages, roots)
	result.Relationships = append(result.Relationships, relationship{result.SPDXID, "DESCRIBES", roots.SPDXID})
	text, err := json.MarshalIndent(result, "", " ")
	return append(text, '\n'), version, err
}

// id is an identifier: of its characters SPDX allows letters, digits, points and hyphens.
func id(parts ...string) string {
	return "SPDXRef-" + regexp.MustCompile(`[^A-Za-z0-9.-]`).ReplaceAllString(strings.Join(parts, "-"), "-")
}

// rootsPackage is the module with the CA certificates, in the version that was linked into this program.
func rootsPackage() (spdxPackage, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return spdxPackage{}, fmt.Errorf("this program does not know its modules")
	}
	for _, module := range info.Deps {
		if module.Path == rootsModule {
			return spdxPackage{
				SPDXID:           id("Package-golang", module.Path, module.Version),
				Name:             module.Path,
				VersionInfo:      module.Version,
				DownloadLocation: unknown,
				LicenseConcluded: unknown,
				LicenseDeclared:  "BSD-3-Clause",
				CopyrightText:    unknown,
				ExternalRefs:     []externalRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + module.Path + "@" + module.Version}},
			}, nil
		}
	}
	return spdxPackage{}, fmt.Errorf("this program has no %s", rootsModule)
}

// readLicenses reads the output of `cargo metadata`: licenses by name and version.
func readLicenses(path string) (map[string]string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var metadata struct {
		Packages []struct {
			Name, Version, License string
		}
	}
	if err := json.Unmarshal(content, &metadata); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	licenses := map[string]string{}
	for _, p := range metadata.Packages {
		// The form of old crates: MIT/Apache-2.0.
		license := strings.ReplaceAll(p.License, "/", " OR ")
		if license == "" {
			license = unknown
		}
		licenses[p.Name+" "+p.Version] = license
	}
	return licenses, nil
}

// readChecksums reads Cargo.lock: checksums by name and version. Cargo writes it, one key a line.
func readChecksums(path string) (map[string]string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	checksums := map[string]string{}
	for _, block := range strings.Split(string(content), "[[package]]") {
		values := map[string]string{}
		for _, line := range strings.Split(block, "\n") {
			if key, value, is := strings.Cut(line, " = "); is {
				values[key] = strings.Trim(value, `"`)
			}
		}
		checksums[values["name"]+" "+values["version"]] = values["checksum"]
	}
	return checksums, nil
}

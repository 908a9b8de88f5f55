package main

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
)

// program is the binary, the architecture that it is for in the words of OCI, and what cargo-auditable has put into it.
type program struct {
	content      []byte
	architecture string
	packages     []embedded
}

// embedded is one package of the list in the binary; dependencies are indexes into that list.
type embedded struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Source       string `json:"source"`
	Kind         string `json:"kind"`
	Dependencies []int  `json:"dependencies"`
	Root         bool   `json:"root"`
}

var architectures = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}

// readProgram reads the binary. One that would need a dynamic linker or libraries, which the image does not have, is refused.
func readProgram(path string) (program, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return program{}, err
	}
	binary, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return program{}, fmt.Errorf("%s: %w", path, err)
	}
	architecture, known := architectures[binary.Machine]
	if !known {
		return program{}, fmt.Errorf("%s is for %s", path, binary.Machine)
	}
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP {
			return program{}, fmt.Errorf("%s is not static", path)
		}
	}
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
		return program{}, fmt.Errorf("%s is not static: %v %v", path, libraries, err)
	}
	section := binary.Section(".dep-v0")
	if section == nil {
		return program{}, fmt.Errorf("%s has no list of packages: cargo-auditable has to build it", path)
	}
	list, err := zlib.NewReader(section.Open())
	if err != nil {
		return program{}, fmt.Errorf("%s, list of packages: %w", path, err)
	}
	var audit struct {
		Packages []embedded `json:"packages"`
	}
	if err := json.NewDecoder(list).Decode(&audit); err != nil {
		return program{}, fmt.Errorf("%s, list of packages: %w", path, err)
	}
	return program{content, architecture, audit.Packages}, nil
}

package main

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// write makes the OCI layout, as a folder (for crane) and as an archive (for kind, docker, podman), and returns the manifest's digest.
func write(out, name, architecture string, config imageConfig, layer blob, created time.Time) (string, error) {
	configuration := encoded(map[string]any{
		"created":      created,
		"architecture": architecture,
		"os":           "linux",
		"config":       config,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{layer.diffID}},
		"history":      []history{{created, "COPY rootfs/ / # deploy/image/Containerfile"}},
	})
	manifest := encoded(map[string]any{
		"schemaVersion": 2,
		"mediaType":     manifestType,
		"config":        descriptor{MediaType: configType, Digest: configuration.digest, Size: len(configuration.content)},
		"layers":        []descriptor{{MediaType: layerType, Digest: layer.digest, Size: len(layer.content)}},
		"annotations":   config.Labels,
	})
	tag := name[strings.LastIndex(name, ":")+1:]
	index := encoded(map[string]any{
		"schemaVersion": 2,
		"mediaType":     indexType,
		"manifests": []descriptor{{
			MediaType: manifestType,
			Digest:    manifest.digest,
			Size:      len(manifest.content),
			Platform:  &platform{architecture, "linux"},
			// containerd takes the name from the first; the second is what the specification has, a tag.
			Annotations: map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag},
		}},
	})
	// What docker load reads where it does not know OCI layouts.
	docker := encoded([]map[string]any{{
		"Config":   blobPath(configuration.digest),
		"RepoTags": []string{name},
		"Layers":   []string{blobPath(layer.digest)},
	}})
	files := []file{
		{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", 0o644, index.content},
		{"manifest.json", 0o644, docker.content},
	}
	for _, blob := range []blob{manifest, configuration, layer} {
		files = append(files, file{blobPath(blob.digest), 0o644, blob.content})
	}
	if err := lay(filepath.Join(out, "layout"), files); err != nil {
		return "", err
	}
	return manifest.digest, archive(filepath.Join(out, "image.tar"), files, created)
}

func blobPath(digest string) string {
	return "blobs/" + strings.Replace(digest, ":", "/", 1)
}

// encoded is a value of ours as JSON; maps come in the order of their keys.
func encoded(value any) blob {
	content, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("a value that is not JSON: %v", err))
	}
	return newBlob(content)
}

func archive(to string, files []file, created time.Time) error {
	// By rename: what is there is complete.
	partial, err := os.Create(to + ".new")
	if err != nil {
		return err
	}
	defer partial.Close()
	writer := tar.NewWriter(partial)
	for _, file := range files {
		header := &tar.Header{Name: file.path, Mode: file.mode, Size: int64(len(file.content)), ModTime: created, Format: tar.FormatUSTAR}
		if err := writer.WriteHeader(header); err != nil {
			return err
		}
		if _, err := writer.Write(file.content); err != nil {
			return err
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	if err := partial.Close(); err != nil {
		return err
	}
	return os.Rename(partial.Name(), to)
}

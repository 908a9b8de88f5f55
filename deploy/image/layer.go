package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is a file of the root file system: its path without the first slash, permissions and content.
type file struct {
	path    string
	mode    int64
	content []byte
}

// blob is content and its digest. diffID is the digest of a layer before compression.
type blob struct {
	content        []byte
	digest, diffID string
}

func newBlob(content []byte) blob {
	return blob{content: content, digest: digest(content)}
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// lay writes the files below a folder, and nothing else is there afterwards.
func lay(root string, files []file) error {
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	for _, file := range files {
		to := filepath.Join(root, file.path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, file.content, 0o600); err != nil {
			return err
		}
		// Whatever the umask says.
		if err := os.Chmod(to, os.FileMode(file.mode)); err != nil {
			return err
		}
	}
	return nil
}

// layer packs the files and the folders that they lie in: root's, in the order of their names, all of one time.
func layer(files []file, created time.Time) (blob, error) {
	headers := map[string]*tar.Header{}
	contents := map[string][]byte{}
	for _, file := range files {
		headers[file.path] = &tar.Header{Typeflag: tar.TypeReg, Mode: file.mode, Size: int64(len(file.content))}
		contents[file.path] = file.content
		for dir := path.Dir(file.path); dir != "."; dir = path.Dir(dir) {
			headers[dir+"/"] = &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}
		}
	}
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	var packed bytes.Buffer
	writer := tar.NewWriter(&packed)
	for _, name := range names {
		header := headers[name]
		header.Name, header.ModTime, header.Format = name, created, tar.FormatUSTAR
		if err := writer.WriteHeader(header); err != nil {
			return blob{}, err
		}
		if _, err := writer.Write(contents[name]); err != nil {
			return blob{}, err
		}
	}
	if err := writer.Close(); err != nil {
		return blob{}, err
	}
	var compressed bytes.Buffer
	// The header has neither a name nor a time.
	zip, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		return blob{}, err
	}
	if _, err := zip.Write(packed.Bytes()); err != nil {
		return blob{}, err
	}
	if err := zip.Close(); err != nil {
		return blob{}, err
	}
	result := newBlob(compressed.Bytes())
	result.diffID = digest(packed.Bytes())
	return result, nil
}

package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestWhatTheContainerfileCannotSayIsRefused(t *testing.T) {
	const good = "FROM scratch\nCOPY rootfs/ /\nUSER 1:1\nENTRYPOINT [\"/program\"]\n"
	args := map[string]string{"VERSION": "1.2.3", "SOURCE": ""}
	config, err := readContainerfile(good+"ARG VERSION\nLABEL a=\"$VERSION\"\nLABEL b=\"$SOURCE\"\nLABEL c=\"d e\"\n", args)
	if err != nil {
		t.Fatal(err)
	}
	if config.User != "1:1" || config.Labels["a"] != "1.2.3" || config.Labels["c"] != "d e" || len(config.Labels) != 2 {
		t.Errorf("%+v", config)
	}
	for text, why := range map[string]string{
		good + "RUN true\n":                   `line 5, "RUN true"`,
		good + "FROM debian\n":                `line 5, "FROM debian"`,
		good + "COPY rootfs/ /\n":             `line 5, "COPY rootfs/ /"`,
		good + "COPY --chown=1 rootfs/ /\n":   "not supported",
		good + "ARG OTHER\n":                  "not supported",
		good + "LABEL a=\"$OTHER\"\n":         "no ARG OTHER",
		good + "LABEL a=\"v$VERSION\"\n":      "not supported",
		good + "LABEL a=b\n":                  `line 5, "LABEL a=b"`,
		"FROM scratch\nCOPY rootfs/ /\n":      "are needed",
		"FROM scratch\nENTRYPOINT /program\n": `line 2, "ENTRYPOINT /program"`,
	} {
		if _, err := readContainerfile(text, args); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAProgramThatWouldNotRunIsRefused(t *testing.T) {
	this, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{
		// It is static and of Go.
		this:        "no list of packages",
		"/bin/sh":   "is not static",
		"go.mod":    "bad magic number",
		"/no/where": "no such file",
	} {
		if _, err := readProgram(path); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestALayerIsTheSameInWhateverOrderItsFilesCome(t *testing.T) {
	one, two := file{"a/b", 0o644, []byte("x")}, file{"a/c/d", 0o755, []byte("y")}
	then := time.Unix(1_700_000_000, 0)
	first, err := layer([]file{one, two}, then)
	if err != nil {
		t.Fatal(err)
	}
	second, err := layer([]file{two, one}, then)
	if err != nil {
		t.Fatal(err)
	}
	other, err := layer([]file{one}, then)
	if err != nil {
		t.Fatal(err)
	}
	if first.digest != second.digest || first.diffID == first.digest || other.digest == first.digest {
		t.Errorf("%s, %s, %s", first.digest, second.digest, other.digest)
	}
}

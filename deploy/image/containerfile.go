package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// imageConfig is the part of an image's configuration that a Containerfile sets.
type imageConfig struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
}

// What a container gets if its image says nothing; builders put it into the configuration.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// readContainerfile reads the few instructions that ours is made of, one a line, and refuses every other. A label whose value is
// empty is left out.
func readContainerfile(text string, args map[string]string) (imageConfig, error) {
	config := imageConfig{
		ExposedPorts: map[string]struct{}{},
		Env:          []string{defaultPath},
		WorkingDir:   "/",
		Labels:       map[string]string{},
	}
	copied := false
	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		instruction, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		var err error
		switch instruction {
		case "FROM":
			err = must(rest == "scratch")
		case "COPY":
			err = must(rest == "rootfs/ /" && !copied)
			copied = true
		case "ARG":
			_, known := args[rest]
			err = must(known)
		case "LABEL":
			var key, value string
			if key, value, err = label(rest, args); err == nil && value != "" {
				config.Labels[key] = value
			}
		case "USER":
			config.User = rest
		case "EXPOSE":
			config.ExposedPorts[rest] = struct{}{}
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(rest), &config.Entrypoint)
		default:
			err = must(false)
		}
		if err != nil {
			return config, fmt.Errorf("line %d, %q: %w", number+1, line, err)
		}
	}
	if !copied || config.User == "" || len(config.Entrypoint) == 0 {
		return config, fmt.Errorf("COPY, USER and ENTRYPOINT are needed")
	}
	return config, nil
}

func must(holds bool) error {
	if !holds {
		return fmt.Errorf("this is not supported")
	}
	return nil
}

// label reads KEY="VALUE" or KEY="$ARG".
func label(text string, args map[string]string) (string, string, error) {
	key, quoted, _ := strings.Cut(text, "=")
	var value string
	if err := json.Unmarshal([]byte(quoted), &value); err != nil {
		return "", "", err
	}
	if name, is := strings.CutPrefix(value, "$"); is {
		known := false
		if value, known = args[name]; !known {
			return "", "", fmt.Errorf("no ARG %s", name)
		}
	} else if strings.Contains(value, "$") {
		return "", "", must(false)
	}
	return key, value, nil
}

// What GitOps tools say of a resource: Argo CD's Lua, kstatus, and Flux's health check expressions.
//
// It reads one JSON document on stdin (see question) and answers one on stdout (see answer).
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	fluxstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	flux "github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type question struct {
	// Health is the Lua of a health check.
	Health string `json:"health"`
	// Discovery is the Lua that says which actions there are.
	Discovery string `json:"discovery"`
	// Actions has the Lua of each action by its name.
	Actions map[string]string `json:"actions"`
	// Expressions is one entry of a Flux Kustomization's healthCheckExprs.
	Expressions kustomize.CustomHealthCheck `json:"expressions"`
	// Resources are judged one by one.
	Resources []map[string]any `json:"resources"`
}

type answer struct {
	// Argo is what Argo CD shows.
	Argo verdict `json:"argo"`
	// Lua is what the script says; Argo CD does not ask it about a resource that is being deleted.
	Lua verdict `json:"lua"`
	// Kstatus is the verdict of cli-utils, and of Flux where there are no expressions.
	Kstatus verdict `json:"kstatus"`
	// Flux is the verdict of the expressions.
	Flux verdict `json:"flux"`
	// Actions says of each action whether it can be taken.
	Actions map[string]bool `json:"actions"`
	// Patches has what each action writes, as the merge patch that Argo CD makes of it.
	Patches map[string]json.RawMessage `json:"patches"`
}

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var asked question
	in := json.NewDecoder(os.Stdin)
	in.DisallowUnknownFields()
	if err := in.Decode(&asked); err != nil {
		return err
	}
	evaluator, err := flux.NewStatusEvaluator(&asked.Expressions.HealthCheckExpressions)
	if err != nil {
		return err
	}
	answers := make([]answer, 0, len(asked.Resources))
	for _, resource := range asked.Resources {
		judged, err := judge(asked, evaluator, resource)
		if err != nil {
			return err
		}
		answers = append(answers, judged)
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func judge(asked question, evaluator *flux.StatusEvaluator, resource map[string]any) (answer, error) {
	object, err := typed(resource)
	if err != nil {
		return answer{}, err
	}
	said := answer{Patches: map[string]json.RawMessage{}}
	if said.Lua, err = health(object, asked.Health); err != nil {
		return said, fmt.Errorf("health: %w", err)
	}
	said.Argo = said.Lua
	if object.GetDeletionTimestamp() != nil {
		// gitops-engine's GetResourceHealth asks no script then.
		said.Argo = verdict{Status: "Progressing", Message: "Pending deletion"}
	}
	computed, err := status.Compute(object)
	if err != nil {
		return said, fmt.Errorf("kstatus: %w", err)
	}
	// Flux has a kstatus of its own, which must not see it otherwise.
	its, err := fluxstatus.Compute(object)
	if err != nil {
		return said, fmt.Errorf("kstatus of Flux: %w", err)
	}
	if string(its.Status) != string(computed.Status) {
		return said, fmt.Errorf("kstatus says %s, and that of Flux %s", computed.Status, its.Status)
	}
	said.Kstatus = verdict{Status: string(computed.Status), Message: computed.Message}
	evaluated, err := evaluator.Evaluate(context.Background(), object)
	if err != nil {
		return said, fmt.Errorf("Flux: %w", err)
	}
	said.Flux = verdict{Status: string(evaluated.Status), Message: evaluated.Message}
	if said.Actions, err = discover(object, asked.Discovery); err != nil {
		return said, fmt.Errorf("discovery: %w", err)
	}
	for name, script := range asked.Actions {
		if said.Patches[name], err = act(object, script); err != nil {
			return said, fmt.Errorf("action %s: %w", name, err)
		}
	}
	return said, nil
}

// typed reads the resource again as a client does: whole numbers are int64.
func typed(resource map[string]any) (*unstructured.Unstructured, error) {
	encoded, err := json.Marshal(resource)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	return object, object.UnmarshalJSON(bytes.TrimSpace(encoded))
}

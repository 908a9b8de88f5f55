package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

// The statuses that Argo CD takes from a script.
var statuses = []string{"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"}

// runLua runs a script as Argo CD does by default: with package, base and table, without string and math. Of os there are
// time and date, and only for who says require("os").
func runLua(object *unstructured.Unstructured, script string) (lua.LValue, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		call := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	state.PreloadModule(lua.OsLibName, safeOs)
	deadline, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(deadline)
	state.SetGlobal("actionParams", state.NewTable())
	state.SetGlobal("obj", luaValue(state, object.Object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	return state.Get(-1), nil
}

// safeOs is what Argo CD lets a script have of os.
func safeOs(state *lua.LState) int {
	scratch := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer scratch.Close()
	lua.OpenOs(scratch)
	whole, safe := scratch.CheckTable(-1), state.NewTable()
	for _, name := range []string{"time", "date"} {
		function, _ := whole.RawGetString(name).(*lua.LFunction)
		safe.RawSetString(name, state.NewFunction(function.GFunction))
	}
	state.Push(safe)
	return 1
}

// luaValue is gopher-json's DecodeValue with the integers that a client reads.
func luaValue(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case int64:
		return lua.LNumber(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(luaValue(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, luaValue(state, item))
		}
		return table
	default:
		return luajson.DecodeValue(state, value)
	}
}

// table runs a script that must return a table, and encodes that.
func table(object *unstructured.Unstructured, script string) ([]byte, error) {
	returned, err := runLua(object, script)
	if err != nil {
		return nil, err
	}
	if returned.Type() != lua.LTTable {
		return nil, fmt.Errorf("the script returns no table, but %s", returned.Type())
	}
	return luajson.Encode(returned)
}

func health(object *unstructured.Unstructured, script string) (verdict, error) {
	encoded, err := table(object, script)
	if err != nil {
		return verdict{}, err
	}
	var said verdict
	if err := strictly(encoded, &said); err != nil {
		return verdict{}, err
	}
	if !slices.Contains(statuses, said.Status) {
		return verdict{}, fmt.Errorf("no status of Argo CD's: %q", said.Status)
	}
	return said, nil
}

func discover(object *unstructured.Unstructured, script string) (map[string]bool, error) {
	encoded, err := table(object, script)
	if err != nil {
		return nil, err
	}
	var actions map[string]struct {
		Disabled    bool   `json:"disabled"`
		DisplayName string `json:"displayName"`
		IconClass   string `json:"iconClass"`
	}
	if err := strictly(encoded, &actions); err != nil {
		return nil, err
	}
	enabled := map[string]bool{}
	for name, action := range actions {
		enabled[name] = !action.Disabled
	}
	return enabled, nil
}

// act gives the merge patch between the resource and what the action makes of it.
func act(object *unstructured.Unstructured, script string) (json.RawMessage, error) {
	encoded, err := table(object, script)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(encoded, []byte("[")) {
		return nil, errors.New("the action returns a list, not the resource")
	}
	changed := &unstructured.Unstructured{}
	if err := changed.UnmarshalJSON(encoded); err != nil {
		return nil, err
	}
	restoreEmpty(changed.Object, object.Object)
	before, err := json.Marshal(object.Object)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(changed.Object)
	if err != nil {
		return nil, err
	}
	return jsonpatch.CreateMergePatch(before, after)
}

// restoreEmpty puts right what Lua cannot tell apart, as Argo CD does: an empty table where the resource had a map is a map.
func restoreEmpty(changed, before map[string]any) {
	for key, old := range before {
		switch value := changed[key].(type) {
		case map[string]any:
			if old, ok := old.(map[string]any); ok {
				restoreEmpty(value, old)
			}
		case []any:
			if _, ok := old.(map[string]any); ok && len(value) == 0 {
				changed[key] = map[string]any{}
			} else if old, ok := old.([]any); ok {
				restoreEmptyItems(value, old)
			}
		}
	}
}

func restoreEmptyItems(changed, before []any) {
	for i := range min(len(changed), len(before)) {
		switch value := changed[i].(type) {
		case map[string]any:
			if old, ok := before[i].(map[string]any); ok {
				restoreEmpty(value, old)
			}
		case []any:
			if old, ok := before[i].([]any); ok {
				restoreEmptyItems(value, old)
			}
		}
	}
}

func strictly(encoded []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

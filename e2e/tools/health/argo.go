package main

import (
	"context"
	"fmt"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// How long Argo CD lets a script run.
const scriptTime = time.Second

// Argo holds the data of an argocd-cm ConfigMap.
type Argo map[string]string

// Health is what a script answers.
type Health struct{ Status, Message string }

func readArgo(file string) (Argo, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var configMap struct {
		Data Argo `json:"data"`
	}
	if err := yaml.Unmarshal(text, &configMap); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return configMap.Data, nil
}

// Runs the script of the object's kind. As in Argo CD it has the base and table libraries, no strings, no I/O, and the
// object in `obj`.
func (argo Argo) judge(object *unstructured.Unstructured) (Health, error) {
	kind := object.GroupVersionKind()
	key := fmt.Sprintf("resource.customizations.health.%s_%s", kind.Group, kind.Kind)
	script, found := argo[key]
	if !found {
		return Health{}, fmt.Errorf("there is no key %s", key)
	}

	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		call := lua.P{Fn: state.NewFunction(library.open), NRet: 0, Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return Health{}, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", toLua(state, object.Object))
	if err := state.DoString(script); err != nil {
		return Health{}, err
	}
	return fromLua(state.Get(-1))
}

func fromLua(answer lua.LValue) (Health, error) {
	table, is := answer.(*lua.LTable)
	if !is {
		return Health{}, fmt.Errorf("the script answered a %s, not a table", answer.Type())
	}
	word := lua.LVAsString(table.RawGetString("status"))
	switch word {
	case "Healthy", "Progressing", "Degraded", "Suspended":
		return Health{word, lua.LVAsString(table.RawGetString("message"))}, nil
	default:
		return Health{}, fmt.Errorf("the script answered the status %q", word)
	}
}

// JSON as a script sees it: null is nil, and every number is Lua's.
func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}

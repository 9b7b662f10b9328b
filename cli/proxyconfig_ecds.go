package cli

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// extensionView lists the configurations of filters that came by themselves.
func extensionView(d *configDump, f filter) (any, []listing, error) {
	t := listing{columns: []string{"ECDS NAME", "TYPE", "POLICIES"}}
	kept := make([]json.RawMessage, 0, len(d.extensions))
	for _, raw := range d.extensions {
		var x struct {
			Name   string `json:"name"`
			Config struct {
				Type string `json:"@type"`
			} `json:"typed_config"`
		}
		if err := json.Unmarshal(raw, &x); err != nil {
			return nil, nil, fmt.Errorf("config dump, filter configuration: %w", err)
		}
		if f.name != "" && x.Name != f.name {
			continue
		}
		kept = append(kept, raw)
		t.rows = append(t.rows, []string{x.Name, x.Config.Type[strings.LastIndexByte(x.Config.Type, '/')+1:], strings.Join(policiesIn(raw), ", ")})
	}
	return kept, []listing{t}, nil
}

// policyName is how rules name the AuthorizationPolicy that they were made from.
var policyName = regexp.MustCompile(`ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[`)

// policiesIn lists the AuthorizationPolicies that a filter's rules were made from, as NAME.NAMESPACE.
func policiesIn(raw json.RawMessage) []string {
	var out []string
	for _, m := range policyName.FindAllSubmatch(raw, -1) {
		out = append(out, string(m[2])+"."+string(m[1]))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

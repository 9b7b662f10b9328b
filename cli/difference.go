package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"lateen.dev/lateen/source/api"
)

// DifferenceResponse answers PathProxies/NAME/difference: the resources of which
// the proxy has not acknowledged what it shall have.
type DifferenceResponse struct {
	// Total is how many there are, of which the first are listed.
	Total       int          `json:"total"`
	Differences []Difference `json:"differences"`
}

// Difference is one resource. A version is empty where there is none: the proxy
// has not the resource, or shall not have it. Content is left out of secrets, of
// what a proxy brought from another control plane, and where it gets too much.
type Difference struct {
	Type          string          `json:"type"` // CDS, LDS…
	Name          string          `json:"name"`
	State         string          `json:"state"`
	Wanted        string          `json:"wanted,omitempty"`
	Has           string          `json:"has,omitempty"`
	Reason        string          `json:"reason,omitempty"`
	WantedContent json.RawMessage `json:"wantedContent,omitempty"`
	HasContent    json.RawMessage `json:"hasContent,omitempty"`
}

// States of a Difference.
const (
	DifferenceRefused = "refused"
	DifferenceSent    = "sent, not answered"
	DifferenceWaits   = "waits for another type's answer"
)

// LiveDifference is a resource that a proxy runs with otherwise than it shall.
type LiveDifference struct {
	Type   string          `json:"type"`
	Name   string          `json:"name"`
	Wanted json.RawMessage `json:"wanted,omitempty"`
	Runs   json.RawMessage `json:"runs,omitempty"`
}

// proxyReport is everything that proxy-status says of one proxy.
type proxyReport struct {
	Proxy
	Difference DifferenceResponse `json:"difference"`
	// Compared says whether the proxy's own dump could be read, Live what differs
	// there.
	Compared bool             `json:"compared"`
	Live     []LiveDifference `json:"live,omitempty"`
}

// adminPatience is how long a proxy that may not run any more is waited for.
const adminPatience = 5 * time.Second

// report asks the control plane, and the proxy itself where it can be reached.
func (r *root) report(ctx context.Context, c *api.Client, p *Proxy) (*proxyReport, error) {
	out := &proxyReport{Proxy: *p}
	path := PathProxies + "/" + url.PathEscape(p.Name)
	if err := c.Call(ctx, http.MethodGet, path+"/difference", nil, &out.Difference); err != nil {
		return nil, err
	}
	if !p.Admin {
		return out, nil
	}
	var raw json.RawMessage
	if err := c.Call(ctx, http.MethodGet, path+"/wanted", nil, &raw); err != nil {
		return nil, err
	}
	wanted, err := parseConfigDump(raw)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, adminPatience)
	defer cancel()
	b, err := r.fetchAdmin(ctx, p.Name, http.MethodGet, "/config_dump")
	if err != nil {
		fmt.Fprintf(r.Err, "what it runs with is not known: %v\n", err)
		return out, nil
	}
	runs, err := parseConfigDump(b)
	if err != nil {
		return nil, err
	}
	out.Compared, out.Live = true, compareDumps(wanted, runs)
	return out, nil
}

// compareDumps compares clusters, listeners, routes and filters that come by themselves, by name. What a proxy was
// started with, or what only its own dump shows, is not wanted of it and not
// looked at.
func compareDumps(wanted, runs *configDump) []LiveDifference {
	var out []LiveDifference
	for _, kind := range []struct {
		name         string
		wanted, runs []json.RawMessage
	}{{"CDS", wanted.clusters, runs.clusters}, {"LDS", wanted.listeners, runs.listeners}, {"RDS", wanted.routes, runs.routes},
		{"ECDS", wanted.extensions, runs.extensions}} {
		have := byName(kind.runs)
		shall := byName(kind.wanted)
		for _, name := range slices.Sorted(maps.Keys(shall)) {
			_, there := have[name]
			if !there && kind.name == "RDS" {
				continue // nothing that the proxy listens on asks for it
			}
			if !same(shall[name], have[name]) {
				out = append(out, LiveDifference{Type: kind.name, Name: name, Wanted: shall[name], Runs: have[name]})
			}
		}
	}
	return out
}

func byName(list []json.RawMessage) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(list))
	for _, raw := range list {
		var named struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(raw, &named) == nil && named.Name != "" {
			out[named.Name] = raw
		}
	}
	return out
}

// same compares what two dumps say. Virtual hosts that are resources of their own
// come one by one, so that a proxy may have only some of them, in any order.
func same(wanted, runs json.RawMessage) bool {
	var a, b map[string]any
	if json.Unmarshal(wanted, &a) != nil || json.Unmarshal(runs, &b) != nil {
		return bytes.Equal(wanted, runs)
	}
	delete(a, "@type")
	delete(b, "@type")
	if a["vhds"] != nil && b["vhds"] != nil {
		shall := hostsByName(a)
		for name, host := range hostsByName(b) {
			if !reflect.DeepEqual(shall[name], host) {
				return false
			}
		}
		delete(a, "virtual_hosts")
		delete(b, "virtual_hosts")
	}
	return reflect.DeepEqual(a, b)
}

func hostsByName(route map[string]any) map[string]any {
	out := map[string]any{}
	list, _ := route["virtual_hosts"].([]any)
	for _, h := range list {
		if host, ok := h.(map[string]any); ok {
			out[fmt.Sprint(host["name"])] = host
		}
	}
	return out
}

func (r *root) printDifferences(p *proxyReport) {
	d := &p.Difference
	if d.Total == 0 {
		fmt.Fprintln(r.Out, "\nIt has acknowledged everything that it shall have.")
	} else {
		fmt.Fprintf(r.Out, "\nIt lacks %d of what it shall have:\n", d.Total)
	}
	for i := range d.Differences {
		one := &d.Differences[i]
		fmt.Fprintf(r.Out, "\n%s %s: %s\n", one.Type, one.Name, one.State)
		if one.Reason != "" {
			fmt.Fprintf(r.Out, "  %s\n", one.Reason)
		}
		r.printDiff(sideOf("has", one.Has), one.HasContent, sideOf("wanted", one.Wanted), one.WantedContent)
	}
	if left := d.Total - len(d.Differences); left > 0 {
		fmt.Fprintf(r.Out, "\nand %d more\n", left)
	}
	switch {
	case !p.Compared:
	case len(p.Live) == 0:
		fmt.Fprintln(r.Out, "It runs with the clusters, listeners and routes that it shall have.")
	default:
		fmt.Fprintln(r.Out, "\nIt runs with something else:")
		for _, one := range p.Live {
			fmt.Fprintf(r.Out, "\n%s %s\n", one.Type, one.Name)
			r.printDiff("runs", one.Runs, "wanted", one.Wanted)
		}
	}
}

func sideOf(what, version string) string {
	if version == "" {
		return what + " none"
	}
	return what + " " + version
}

// printDiff prints what differs, in the form of diff -u.
func (r *root) printDiff(oldName string, old json.RawMessage, newName string, now json.RawMessage) {
	if len(old) == 0 && len(now) == 0 {
		fmt.Fprintf(r.Out, "  %s, %s\n", oldName, newName)
		return
	}
	text := diff.Diff(oldName, indented(old), newName, indented(now))
	if _, rest, ok := bytes.Cut(text, []byte("\n")); ok {
		text = rest // the first line names both sides once more
	}
	r.Out.Write(text)
}

// indented writes JSON with sorted keys, a value a line.
func indented(raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return nil
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return raw
	}
	if o, ok := v.(map[string]any); ok {
		delete(o, "@type")
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return raw
	}
	return append(b, '\n')
}

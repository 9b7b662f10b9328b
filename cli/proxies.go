package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"lateen.dev/lateen/source/api"
)

// PathProxies is where the local API lists the connected proxies: GET answers
// ProxiesResponse. Below it, PATH/NAME.NAMESPACE/admin/… is the proxy's own
// admin address.
const PathProxies = "/v1/proxies"

// ProxiesResponse is every connected proxy, by name.
type ProxiesResponse struct {
	Proxies []Proxy `json:"proxies"`
}

// Proxy is what the control plane knows of one connected proxy.
type Proxy struct {
	// Name is NAME.NAMESPACE, as in the proxy's node id.
	Name    string `json:"name"`
	Type    string `json:"type"`
	Cluster string `json:"cluster"`
	Address string `json:"address"`
	// Identity is the proven SPIFFE id.
	Identity string `json:"identity,omitempty"`
	Version  string `json:"version"`
	// Protocol is "delta" or "sotw".
	Protocol string    `json:"protocol"`
	Since    time.Time `json:"connectedSince"`
	// Revision is the newest configuration that the proxy has all of.
	Revision uint64      `json:"revision"`
	Types    []ProxyType `json:"types"`
	// Admin says whether its admin address can be reached through the local API.
	Admin bool `json:"admin"`
}

// ProxyType is what a proxy has of one resource type.
type ProxyType struct {
	Type     string    `json:"type"` // CDS, LDS…
	Status   string    `json:"status"`
	Since    time.Time `json:"since"`
	Wanted   string    `json:"wanted"`
	Acked    string    `json:"acked"`
	Names    int       `json:"names,omitempty"`
	Wildcard bool      `json:"wildcard,omitempty"`
	// Refused are the resources that the proxy would not take, and why.
	Refused []string `json:"refused,omitempty"`
	Reason  string   `json:"reason,omitempty"`
}

// get returns the named type's line.
func (p *Proxy) get(name string) *ProxyType {
	i := slices.IndexFunc(p.Types, func(t ProxyType) bool { return t.Type == name })
	if i < 0 {
		return nil
	}
	return &p.Types[i]
}

func (r *root) proxies(ctx context.Context, c *api.Client) ([]Proxy, error) {
	var answer ProxiesResponse
	if err := c.Call(ctx, http.MethodGet, PathProxies, nil, &answer); err != nil {
		return nil, err
	}
	return answer.Proxies, nil
}

// findProxy resolves what a user typed: NAME.NAMESPACE, NAME, NAME/NAMESPACE's
// kubectl form pod/NAME, or the only one that begins so.
func (r *root) findProxy(ctx context.Context, c *api.Client, typed string) (*Proxy, error) {
	all, err := r.proxies(ctx, c)
	if err != nil {
		return nil, err
	}
	name := typed[strings.IndexByte(typed, '/')+1:]
	var begins []*Proxy
	for i := range all {
		p := &all[i]
		if p.Name == name || p.Name == name+"."+r.namespace {
			return p, nil
		}
		if strings.HasPrefix(p.Name, name) {
			begins = append(begins, p)
		}
	}
	if len(begins) == 1 {
		return begins[0], nil
	}
	names := make([]string, 0, len(all))
	for _, p := range all {
		names = append(names, p.Name)
	}
	if len(begins) > 1 {
		return nil, fmt.Errorf("%q is the beginning of %d proxies' names; connected are %s", typed, len(begins), strings.Join(names, ", "))
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no proxy %q: none is connected to the control plane", typed)
	}
	return nil, fmt.Errorf("there is no proxy %q; connected are %s", typed, strings.Join(names, ", "))
}

// adminPath is the local API's path to a proxy's admin address.
func adminPath(p *Proxy, path string) string {
	return PathProxies + "/" + url.PathEscape(p.Name) + "/admin" + path
}

// completeProxies lists the connected proxies for the shell.
func (r *root) completeProxies(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c := r.client()
	defer c.Close()
	all, err := r.proxies(ctx, c)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(all))
	for _, p := range all {
		names = append(names, p.Name)
	}
	return names
}

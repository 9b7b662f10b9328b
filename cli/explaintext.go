package cli

import (
	"fmt"
	"io"
	"strings"
)

// explanation is what a proxy's /explain answers.
type explanation struct {
	Destination string `json:"destination"`
	Listener    *struct {
		Name         string `json:"name"`
		Address      string `json:"address"`
		Direction    string `json:"direction"`
		HandedOverBy string `json:"handedOverBy"`
		Reason       string `json:"reason"`
	} `json:"listener"`
	Chain *struct {
		Name       string `json:"name"`
		TLS        bool   `json:"tls"`
		Default    bool   `json:"default"`
		Considered []struct {
			Name   string `json:"name"`
			Reason string `json:"reason"`
		} `json:"considered"`
	} `json:"filterChain"`
	Filters []struct {
		Name     string `json:"name"`
		Override string `json:"override"`
	} `json:"filters"`
	Route     *routeTrace `json:"route"`
	Outcome   string      `json:"outcome"`
	Path      string      `json:"path"`
	Authority string      `json:"authority"`
	Timeout   string      `json:"timeout"`
	Retries   string      `json:"retries"`
	Mirrors   []string    `json:"mirrors"`
	Cluster   *struct {
		Name   string `json:"name"`
		Exists bool   `json:"exists"`
		Type   string `json:"type"`
		TLS    string `json:"tls"`
		Config string `json:"config"`
		File   string `json:"file"`
		Line   int    `json:"line"`
	} `json:"cluster"`
	Endpoints []struct {
		Address  string `json:"address"`
		Health   string `json:"health"`
		TLS      string `json:"tls"`
		Workload string `json:"workload"`
	} `json:"endpoints"`
}

type routeTrace struct {
	Config      string   `json:"routeConfig"`
	VirtualHost string   `json:"virtualHost"`
	Domains     []string `json:"domains"`
	HostReason  string   `json:"virtualHostReason"`
	Routes      []struct {
		Name    string `json:"name"`
		Match   string `json:"match"`
		Matched bool   `json:"matched"`
		Reason  string `json:"reason"`
		Config  string `json:"config"`
		File    string `json:"file"`
		Line    int    `json:"line"`
		Rule    string `json:"rule"`
	} `json:"routes"`
	Weight string `json:"weight"`
}

// explainer writes an explanation for people: one line a stage, what was
// passed over indented below.
type explainer struct {
	out io.Writer
	r   *root
}

func (x explainer) line(stage, format string, args ...any) {
	fmt.Fprintf(x.out, "%-12s %s\n", stage, fmt.Sprintf(format, args...))
}

func (x explainer) detail(format string, args ...any) { x.line("", "  "+format, args...) }

// write writes all of it, in the order in which a request meets the stages.
func (x explainer) write(e *explanation) {
	if e.Destination != "" {
		x.line("destination", "%s", e.Destination)
	}
	x.listener(e)
	x.route(e.Route)
	x.line("outcome", "%s", e.Outcome)
	for _, f := range []struct{ name, value string }{{"path", e.Path}, {"authority", e.Authority}, {"timeout", e.Timeout}, {"retries", e.Retries}} {
		if f.value != "" {
			x.line(f.name, "%s", f.value)
		}
	}
	for _, f := range e.Filters {
		if f.Override != "" {
			x.line("filter", "%s: %s", f.Name, f.Override)
		}
	}
	for _, m := range e.Mirrors {
		x.line("mirror", "%s", m)
	}
	x.cluster(e)
}

func (x explainer) listener(e *explanation) {
	if l := e.Listener; l != nil {
		by := ""
		if l.HandedOverBy != "" {
			by = ", handed over by " + l.HandedOverBy
		}
		x.line("listener", "%s (%s%s): %s", l.Name, strings.ToLower(l.Direction), by, l.Reason)
	}
	c := e.Chain
	if c == nil {
		return
	}
	name := c.Name
	if name == "" {
		name = "the only one"
	}
	if c.Default {
		name += " (default)"
	}
	if c.TLS {
		name += ", TLS"
	}
	x.line("chain", "%s", name)
	for _, o := range c.Considered {
		x.detail("not %s: %s", o.Name, o.Reason)
	}
}

func (x explainer) route(t *routeTrace) {
	if t == nil {
		return
	}
	x.line("routes", "%s", t.Config)
	host := t.VirtualHost
	if host == "" {
		host = "none"
	}
	if t.HostReason != "" {
		host += ": " + t.HostReason
	}
	x.line("host", "%s", host)
	for _, r := range t.Routes {
		where := place(r.File, r.Line)
		if where == "" {
			where = r.Config
		}
		if r.Rule != "" {
			where = strings.TrimSpace(where + " " + r.Rule)
		}
		if !r.Matched {
			x.detail("not %s %s: %s", where, r.Match, r.Reason)
			continue
		}
		if where == "" {
			where = "the default route"
		}
		x.line("rule", "%s", x.r.colour(green, where))
		x.detail("%s", r.Match)
	}
	if t.Weight != "" {
		x.detail("weight %s", t.Weight)
	}
}

func (x explainer) cluster(e *explanation) {
	c := e.Cluster
	if c == nil {
		return
	}
	text := c.Name
	if !c.Exists {
		text += " " + x.r.colour(red, "does not exist")
	}
	if where := place(c.File, c.Line); where != "" {
		text += " (" + where + ")"
	}
	x.line("cluster", "%s", text)
	for _, ep := range e.Endpoints {
		tls := ep.TLS
		if tls == "" {
			tls = "plain text"
		}
		x.line("endpoint", "%s %s, %s, %s", ep.Address, ep.Workload, strings.ToLower(ep.Health), tls)
	}
	if c.Exists && len(e.Endpoints) == 0 && c.Type != "ORIGINAL_DST" {
		x.line("endpoint", "%s", x.r.colour(red, "none"))
	}
}

func place(file string, line int) string {
	if file == "" || line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

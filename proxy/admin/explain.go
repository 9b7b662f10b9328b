package admin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/route"
)

// Explanation is the answer of /explain: every choice on a request's way, in order.
type Explanation struct {
	Destination string         `json:"destination,omitempty"`
	Listener    *ListenerStep  `json:"listener,omitempty"`
	Chain       *ChainStep     `json:"filterChain,omitempty"`
	Filters     []FilterStep   `json:"filters,omitempty"`
	Route       *route.Trace   `json:"route,omitempty"`
	Outcome     string         `json:"outcome"`
	Path        string         `json:"path,omitempty"`
	Authority   string         `json:"authority,omitempty"`
	Timeout     string         `json:"timeout,omitempty"`
	Retries     string         `json:"retries,omitempty"`
	Mirrors     []string       `json:"mirrors,omitempty"`
	Cluster     *ClusterStep   `json:"cluster,omitempty"`
	Endpoints   []EndpointStep `json:"endpoints,omitempty"`
}

// ListenerStep is the listener that takes the connection.
type ListenerStep struct {
	Name      string `json:"name"`
	Address   string `json:"address"`
	Direction string `json:"direction"`
	// HandedOverBy is the listener that accepted the connection, when it is another.
	HandedOverBy string `json:"handedOverBy,omitempty"`
	Reason       string `json:"reason"`
}

// ChainStep is the filter chain, and what was said of the others.
type ChainStep struct {
	Name       string      `json:"name"`
	TLS        bool        `json:"tls,omitempty"`
	Default    bool        `json:"default,omitempty"`
	Considered []ChainSeen `json:"considered,omitempty"`
}

// ChainSeen is a filter chain that was not chosen.
type ChainSeen struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// FilterStep is a filter that the request passes, with what the route changes about it.
type FilterStep struct {
	Name     string `json:"name"`
	Override string `json:"override,omitempty"`
}

// ClusterStep is the cluster.
type ClusterStep struct {
	Name   string `json:"name"`
	Exists bool   `json:"exists"`
	Type   string `json:"type,omitempty"`
	TLS    string `json:"tls,omitempty"`
	Config string `json:"config,omitempty"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
}

// EndpointStep is an endpoint that may be chosen.
type EndpointStep struct {
	Address  string `json:"address"`
	Priority int    `json:"priority"`
	Locality string `json:"locality,omitempty"`
	Weight   uint32 `json:"weight"`
	Health   string `json:"health"`
	TLS      string `json:"tls,omitempty"`
	Workload string `json:"workload,omitempty"`
}

// question is a parsed request to /explain.
type question struct {
	head     head
	url      *url.URL
	listener string
	dest     netip.AddrPort
	facts    plan.ConnFacts
	random   uint64
}

func (s *server) explain(w http.ResponseWriter, r *http.Request) {
	q, err := s.question(r.Context(), r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, explainer{q: q, p: s.Current.Load()}.explain())
}

func (s *server) question(ctx context.Context, v url.Values) (*question, error) {
	u, err := url.Parse(v.Get("url"))
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("url: %q is not of the form http://host:port/path", v.Get("url"))
	}
	q := &question{url: u, listener: v.Get("listener"), random: rand.Uint64()}
	if text := v.Get("random"); text != "" {
		if q.random, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, fmt.Errorf("random: %w", err)
		}
	}
	if q.head, err = newHead(v, u); err != nil {
		return nil, err
	}
	if err := s.destination(ctx, q, v.Get("destination")); err != nil {
		return nil, err
	}
	q.facts = plan.ConnFacts{Destination: q.dest, Transport: "raw_buffer", ALPN: []string{"http/1.1"}}
	if src := v.Get("source"); src != "" {
		if q.facts.Source, err = netip.ParseAddrPort(src); err != nil {
			a, err := netip.ParseAddr(src)
			if err != nil {
				return nil, fmt.Errorf("source: %w", err)
			}
			q.facts.Source = netip.AddrPortFrom(a, 0)
		}
		q.facts.DirectSource = q.facts.Source.Addr()
	}
	switch {
	case v.Has("alpn"):
		q.facts.ALPN = strings.Split(v.Get("alpn"), ",")
	case v.Get("protocol") == "h2":
		q.facts.ALPN = []string{"h2c"}
	case u.Scheme == "tcp":
		q.facts.ALPN = nil
	}
	if u.Scheme == "https" || v.Has("sni") {
		q.facts.Transport, q.facts.ServerName = "tls", strings.ToLower(v.Get("sni"))
		if q.facts.ServerName == "" {
			q.facts.ServerName = strings.ToLower(u.Hostname())
		}
	}
	return q, nil
}

// destination finds where the client would connect to. An unknown address leaves only the port.
func (s *server) destination(ctx context.Context, q *question, given string) error {
	if given != "" {
		var err error
		if q.dest, err = netip.ParseAddrPort(given); err != nil {
			return fmt.Errorf("destination: %w", err)
		}
		return nil
	}
	port := 80
	if q.url.Scheme == "https" {
		port = 443
	}
	if p := q.url.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return fmt.Errorf("url: port %q: %w", p, err)
		}
		port = int(n)
	}
	a, err := netip.ParseAddr(q.url.Hostname())
	if err != nil && s.Resolve != nil {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if found := s.Resolve(ctx, q.url.Hostname()); len(found) > 0 {
			a = found[0]
		}
	}
	q.dest = netip.AddrPortFrom(a, uint16(port))
	return nil
}

// head is the request's head as given in the query.
type head struct {
	method, scheme, authority, path []byte
	headers                         map[string][]byte
}

func newHead(v url.Values, u *url.URL) (head, error) {
	h := head{method: []byte("GET"), scheme: []byte(u.Scheme), authority: []byte(u.Host), path: []byte(u.RequestURI()), headers: map[string][]byte{}}
	if m := v.Get("method"); m != "" {
		h.method = []byte(strings.ToUpper(m))
	}
	for _, line := range v["header"] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return h, errors.New("header: " + line + " is not of the form name: value")
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == "host" {
			h.authority = []byte(value)
			continue
		}
		if old, ok := h.headers[name]; ok {
			value = string(old) + "," + value
		}
		h.headers[name] = []byte(value)
	}
	return h, nil
}

package cli

import (
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// logQueries turns --level into the queries of Envoy's /logging.
func logQueries(level string) []string {
	if level == "" {
		return nil
	}
	var queries []string
	for _, part := range strings.Split(level, ",") {
		scope, l, ok := strings.Cut(part, ":")
		if !ok {
			scope, l = "level", part
		}
		queries = append(queries, "?"+url.Values{scope: {l}}.Encode())
	}
	return queries
}

// keep decodes the resources that want accepts, in the order of key.
func keep[T any](raw []json.RawMessage, key func(*T) string, want func(*T) bool) ([]json.RawMessage, []*T, error) {
	type both struct {
		raw json.RawMessage
		v   *T
	}
	var kept []both
	for _, b := range raw {
		v := new(T)
		if err := json.Unmarshal(b, v); err != nil {
			return nil, nil, fmt.Errorf("config dump, resource: %w", err)
		}
		if want(v) {
			kept = append(kept, both{b, v})
		}
	}
	slices.SortStableFunc(kept, func(a, b both) int { return cmp.Compare(key(a.v), key(b.v)) })
	raws, values := make([]json.RawMessage, len(kept)), make([]*T, len(kept))
	for i, k := range kept {
		raws[i], values[i] = k.raw, k.v
	}
	return raws, values, nil
}

type dumpedCluster struct {
	Name     string        `json:"name"`
	Type     string        `json:"type"`
	Metadata istioMetadata `json:"metadata"`
}

func (f filter) cluster(c *dumpedCluster) bool {
	n := parseClusterName(c.Name)
	return (f.name == "" || c.Name == f.name) && (f.fqdn == "" || n.host == f.fqdn) && (f.port == "" || n.port == f.port) &&
		(f.subset == "" || n.subset == f.subset) && (f.direction == "" || n.direction == f.direction)
}

func clusterView(d *configDump, f filter) (any, []listing, error) {
	raw, clusters, err := keep(d.clusters, func(c *dumpedCluster) string {
		n := parseClusterName(c.Name)
		return n.host + "|" + n.port + "|" + n.subset + "|" + n.direction
	}, f.cluster)
	t := listing{columns: []string{"SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"}}
	for _, c := range clusters {
		n := parseClusterName(c.Name)
		if n.host == "" {
			n.host = c.Name
		}
		t.rows = append(t.rows, []string{n.host, n.port, n.subset, n.direction, cmp.Or(c.Type, "STATIC"), c.Metadata.object()})
	}
	return raw, []listing{t}, err
}

type dumpedListener struct {
	Name    string `json:"name"`
	Address struct {
		Socket struct {
			Address string `json:"address"`
			Port    int    `json:"port_value"`
		} `json:"socket_address"`
	} `json:"address"`
	Chains  []dumpedChain `json:"filter_chains"`
	Default *dumpedChain  `json:"default_filter_chain"`
}

type dumpedChain struct {
	Name  string `json:"name"`
	Match struct {
		Port        int      `json:"destination_port"`
		ServerNames []string `json:"server_names"`
		Transport   string   `json:"transport_protocol"`
		ALPN        []string `json:"application_protocols"`
		Prefixes    []struct {
			Address string `json:"address_prefix"`
			Length  int    `json:"prefix_len"`
		} `json:"prefix_ranges"`
	} `json:"filter_chain_match"`
	Filters []struct {
		Config struct {
			Cluster string `json:"cluster"`
			RDS     struct {
				Name string `json:"route_config_name"`
			} `json:"rds"`
			Routes *struct {
				Name string `json:"name"`
			} `json:"route_config"`
			Weighted struct {
				Clusters []struct {
					Name string `json:"name"`
				} `json:"clusters"`
			} `json:"weighted_clusters"`
		} `json:"typed_config"`
	} `json:"filters"`
}

func (c *dumpedChain) match(isDefault bool) string {
	m := c.Match
	var parts []string
	if m.Transport != "" {
		parts = append(parts, "Trans: "+m.Transport)
	}
	if len(m.ALPN) > 0 {
		parts = append(parts, "App: "+strings.Join(m.ALPN, ","))
	}
	if len(m.ServerNames) > 0 {
		parts = append(parts, "SNI: "+strings.Join(m.ServerNames, ","))
	}
	for _, p := range m.Prefixes {
		parts = append(parts, fmt.Sprintf("Addr: %s/%d", p.Address, p.Length))
	}
	if m.Port != 0 {
		parts = append(parts, fmt.Sprintf("Port: %d", m.Port))
	}
	switch {
	case isDefault:
		return "ALL (default)"
	case len(parts) == 0:
		return "ALL"
	}
	return strings.Join(parts, "; ")
}

func (c *dumpedChain) destination() string {
	for i := len(c.Filters) - 1; i >= 0; i-- {
		config := &c.Filters[i].Config
		switch {
		case config.RDS.Name != "":
			return "Route: " + config.RDS.Name
		case config.Routes != nil:
			return "Inline Route: " + config.Routes.Name
		case config.Cluster != "":
			return "Cluster: " + config.Cluster
		case len(config.Weighted.Clusters) > 0:
			return fmt.Sprintf("Clusters: %d weighted", len(config.Weighted.Clusters))
		}
	}
	return "Non-HTTP/Non-TCP"
}

func listenerView(d *configDump, f filter) (any, []listing, error) {
	raw, listeners, err := keep(d.listeners, func(l *dumpedListener) string {
		return fmt.Sprintf("%05d %s", l.Address.Socket.Port, l.Address.Socket.Address)
	}, func(l *dumpedListener) bool {
		return (f.name == "" || l.Name == f.name) && (f.port == "" || fmt.Sprint(l.Address.Socket.Port) == f.port)
	})
	t := listing{columns: []string{"NAME", "ADDRESS", "PORT", "MATCH", "DESTINATION"}}
	for _, l := range listeners {
		row := func(c *dumpedChain, isDefault bool) {
			t.rows = append(t.rows, []string{l.Name, l.Address.Socket.Address, fmt.Sprint(l.Address.Socket.Port), c.match(isDefault), c.destination()})
		}
		for i := range l.Chains {
			row(&l.Chains[i], false)
		}
		if l.Default != nil {
			row(l.Default, true)
		}
	}
	return raw, []listing{t}, err
}

type dumpedRoutes struct {
	Name         string `json:"name"`
	VirtualHosts []struct {
		Name    string   `json:"name"`
		Domains []string `json:"domains"`
		Routes  []struct {
			Name     string          `json:"name"`
			Match    json.RawMessage `json:"match"`
			Metadata istioMetadata   `json:"metadata"`
		} `json:"routes"`
	} `json:"virtual_hosts"`
}

func routeView(d *configDump, f filter) (any, []listing, error) {
	raw, configs, err := keep(d.routes, func(r *dumpedRoutes) string { return r.Name }, func(r *dumpedRoutes) bool {
		return (f.name == "" || r.Name == f.name) && (f.port == "" || r.Name == f.port)
	})
	t := listing{columns: []string{"NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"}}
	for _, c := range configs {
		for _, v := range c.VirtualHosts {
			if f.fqdn != "" && !strings.HasPrefix(v.Name, f.fqdn) {
				continue
			}
			for _, route := range v.Routes {
				t.rows = append(t.rows, []string{c.Name, v.Name, domainsCell(v.Domains), matchCell(route.Match), route.Metadata.object()})
			}
			if len(v.Routes) == 0 {
				t.rows = append(t.rows, []string{c.Name, v.Name, domainsCell(v.Domains), "-", ""})
			}
		}
	}
	return raw, []listing{t}, err
}

func domainsCell(domains []string) string {
	if len(domains) == 0 {
		return "-"
	}
	if len(domains) == 1 {
		return domains[0]
	}
	return fmt.Sprintf("%s + %d more...", domains[0], len(domains)-1)
}

// matchCell is the path match, with a star where more conditions apply.
func matchCell(raw json.RawMessage) string {
	var m struct {
		Prefix          *string `json:"prefix"`
		Path            *string `json:"path"`
		SeparatedPrefix *string `json:"path_separated_prefix"`
		Regex           struct {
			Regex string `json:"regex"`
		} `json:"safe_regex"`
		Headers []json.RawMessage `json:"headers"`
		Query   []json.RawMessage `json:"query_parameters"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "?"
	}
	cell := "/*"
	switch {
	case m.Path != nil:
		cell = *m.Path
	case m.SeparatedPrefix != nil:
		cell = *m.SeparatedPrefix + "/*"
	case m.Regex.Regex != "":
		cell = "regex " + m.Regex.Regex
	case m.Prefix != nil:
		cell = *m.Prefix + "*"
	}
	if n := len(m.Headers); n > 0 {
		cell += fmt.Sprintf(" +%d headers", n)
	}
	if n := len(m.Query); n > 0 {
		cell += fmt.Sprintf(" +%d query", n)
	}
	return cell
}

func secretView(d *configDump, f filter) (any, []listing, error) {
	t := listing{columns: []string{"RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"}}
	kept := make([]secretDump, 0, len(d.secrets))
	for _, s := range d.secrets {
		if f.name != "" && s.Name != f.name {
			continue
		}
		kept = append(kept, s)
		kind, bytes, text := "CA", "", ""
		if s.Secret.Certificate != nil {
			kind, bytes, text = "Cert Chain", s.Secret.Certificate.Chain.InlineBytes, s.Secret.Certificate.Chain.InlineString
		} else if s.Secret.Validation != nil {
			bytes, text = s.Secret.Validation.CA.InlineBytes, s.Secret.Validation.CA.InlineString
		}
		for _, c := range parseCertificates(bytes, text) {
			now := time.Now()
			valid := now.After(c.NotBefore) && now.Before(c.NotAfter)
			t.rows = append(t.rows, []string{s.Name, kind, s.Status, fmt.Sprint(valid), fmt.Sprintf("%x", c.SerialNumber),
				c.NotAfter.UTC().Format(time.RFC3339), c.NotBefore.UTC().Format(time.RFC3339)})
		}
	}
	return kept, []listing{t}, nil
}

// parseCertificates reads PEM that is either in base64, as protobuf's JSON has
// bytes, or plain. What cannot be read is left out.
func parseCertificates(encoded, plain string) []*x509.Certificate {
	rest := []byte(plain)
	if plain == "" {
		b, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil
		}
		rest = b
	}
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return list
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			list = append(list, c)
		}
	}
}

func bootstrapView(d *configDump, _ filter) (any, []listing, error) {
	var b struct {
		Node struct {
			ID      string `json:"id"`
			Cluster string `json:"cluster"`
		} `json:"node"`
	}
	if len(d.bootstrap) == 0 {
		return nil, nil, fmt.Errorf("the dump has no bootstrap")
	}
	if err := json.Unmarshal(d.bootstrap, &b); err != nil {
		return nil, nil, fmt.Errorf("config dump, bootstrap: %w", err)
	}
	return d.bootstrap, []listing{{columns: []string{"NODE", "CLUSTER"}, rows: [][]string{{b.Node.ID, b.Node.Cluster}}}}, nil
}

func allView(d *configDump, f filter) (any, []listing, error) {
	var all []listing
	views := []view{clusterView, listenerView, routeView, secretView}
	if len(d.extensions) > 0 {
		views = append(views, extensionView)
	}
	for _, v := range views {
		_, tables, err := v(d, f)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, tables...)
	}
	return nil, all, nil
}

package consul

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/protocol"
)

// What tags (NAME=VALUE or NAME|VALUE) and metadata of an instance mean besides
// being labels.
const (
	metaProtocol = "protocol"        // of the default port, as in a port's name
	metaPort     = "port"            // the service's port, where instances listen on others
	metaAccount  = "service-account" // of the identity behind the instance
)

// mixedPort is the service's port where instances listen on different ones and
// nobody says which it is.
const mixedPort = 80

// translation makes objects of what Consul says.
type translation struct {
	source, domain string
	problems       config.Problems
}

// serviceEntry is the object of a service, nil if it is none for the mesh. Its
// key is that of the object which it was before in that case.
func (t *translation) serviceEntry(name string, instances []*api.ServiceEntry) (*config.Object, config.Key) {
	instances = slices.DeleteFunc(slices.Clone(instances), func(e *api.ServiceEntry) bool { return !t.usable(name, e) })
	slices.SortFunc(instances, func(a, b *api.ServiceEntry) int {
		return cmp.Or(strings.Compare(a.Service.ID, b.Service.ID), strings.Compare(a.Node.Node, b.Node.Node),
			strings.Compare(a.Node.Datacenter, b.Node.Datacenter), strings.Compare(a.Service.Address, b.Service.Address))
	})
	label := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name))
	key := config.Key{Kind: config.ServiceEntry, Namespace: "default", Name: label}
	if len(instances) == 0 {
		return nil, key
	}
	se := &networking.ServiceEntry{
		Hosts:    []string{strings.ToLower(name) + ".service." + t.domain},
		Location: networking.ServiceEntry_MESH_INTERNAL, Resolution: networking.ServiceEntry_STATIC,
	}
	ports := portsOf(instances)
	for _, p := range ports {
		se.Ports = append(se.Ports, &networking.ServicePort{Name: p.name, Number: p.number, Protocol: p.protocol})
	}
	for _, e := range instances {
		if e.Checks.AggregatedStatus() == api.HealthCritical || e.Checks.AggregatedStatus() == api.HealthMaint {
			continue
		}
		endpoint := endpointOf(name, e, ports)
		if _, err := netip.ParseAddr(endpoint.Address); err != nil {
			se.Resolution = networking.ServiceEntry_DNS
		}
		se.Endpoints = append(se.Endpoints, endpoint)
	}
	o := &config.Object{Key: key, Spec: se, Labels: map[string]string{"app": label},
		Origin: config.Origin{Source: t.source, Position: config.Position{File: t.source + "/" + name}}}
	if !isLabelValue(label) {
		delete(o.Labels, "app")
	}
	return o, key
}

// usable leaves out what is no program of the service: sidecars and gateways of
// Consul's own mesh, whose certificates only Consul's proxies have.
func (t *translation) usable(name string, e *api.ServiceEntry) bool {
	if e == nil || e.Service == nil || e.Node == nil || e.Service.Kind != api.ServiceKindTypical {
		return false
	}
	complain := func(message, hint string) {
		t.complain(name, config.Warning, "the instance "+e.Service.ID+" "+message, hint)
	}
	switch {
	case e.Service.Address == "" && e.Node.Address == "":
		complain("has no address", "Register it with one")
		return false
	case e.Service.DefaultPort() <= 0 && len(e.Service.Ports) == 0:
		complain("has no port", "Register it with one")
		return false
	case e.Service.Connect != nil && e.Service.Connect.Native:
		complain("takes connections from Consul's own mesh only", "Run it without Connect, or leave it to Consul's proxies")
		return false
	}
	return true
}

// complain notes what keeps a service, or a part of it, out of the mesh.
func (t *translation) complain(name string, severity config.Severity, message, hint string) {
	code := config.CodeSchemaWarning
	t.problems = append(t.problems, config.Problem{Severity: severity, Code: code.ID, Name: code.Name,
		Position: config.Position{File: t.source + "/" + name}, Object: config.Ref{Kind: "ServiceEntry", Namespace: "default", Name: name},
		Message: message, Hint: hint})
}

// port is a port of the service.
type port struct {
	name, protocol string
	number         uint32
	// ofInstance is what it is called in Consul, "" for the default one.
	ofInstance string
}

// portsOf are the service's ports: one, unless the instances name several.
func portsOf(instances []*api.ServiceEntry) []port {
	numbers := map[string][]int{}
	for _, e := range instances {
		for name, number := range instancePorts(e) {
			numbers[name] = append(numbers[name], number)
		}
	}
	var ports []port
	taken := map[uint32]bool{}
	for _, name := range slices.Sorted(maps.Keys(numbers)) {
		all := numbers[name]
		p := port{ofInstance: name, number: uint32(slices.Min(all)), name: strings.ToLower(name)}
		known := protocol.OfPort("", name, "", p.number)
		if name == "" {
			if slices.Min(all) != slices.Max(all) {
				p.number = mixedPort
			}
			if n, err := strconv.ParseUint(said(instances, metaPort), 10, 16); err == nil && n > 0 {
				p.number = uint32(n)
			}
			known = protocol.Parse(said(instances, metaProtocol))
		}
		if known != protocol.Unsupported {
			p.protocol = known.String()
		}
		p.name = cmp.Or(p.name, strings.ToLower(p.protocol), "default")
		if !taken[p.number] {
			taken[p.number] = true
			ports = append(ports, p)
		}
	}
	return ports
}

// instancePorts are an instance's ports by the names that Consul has, the
// default one under "".
func instancePorts(e *api.ServiceEntry) map[string]int {
	ports := map[string]int{}
	if n := e.Service.DefaultPort(); n > 0 {
		ports[""] = n
	}
	for _, p := range e.Service.Ports {
		if !p.Default && p.Port > 0 {
			ports[p.Name] = p.Port
		}
	}
	return ports
}

// said is what the first instance that says anything says of the service.
func said(instances []*api.ServiceEntry, name string) string {
	for _, e := range instances {
		if v := attributes(e)[name]; v != "" {
			return v
		}
	}
	return ""
}

// attributes are an instance's node metadata, over it its own, over both its
// tags.
func attributes(e *api.ServiceEntry) map[string]string {
	all := map[string]string{}
	for name, value := range e.Node.Meta {
		if !strings.HasPrefix(name, "consul-") { // of the agent, not of the program
			all[name] = value
		}
	}
	maps.Copy(all, e.Service.Meta)
	for _, tag := range e.Service.Tags {
		i := strings.IndexAny(tag, "=|")
		switch {
		case i > 0:
			all[tag[:i]] = tag[i+1:]
		case protocol.Parse(tag) != protocol.Unsupported && all[metaProtocol] == "":
			all[metaProtocol] = tag
		}
	}
	return all
}

// endpointOf is an instance as an endpoint.
func endpointOf(name string, e *api.ServiceEntry, ports []port) *networking.WorkloadEntry {
	w := &networking.WorkloadEntry{Address: cmp.Or(e.Service.Address, e.Node.Address), Labels: map[string]string{}, Ports: map[string]uint32{}}
	for key, value := range attributes(e) {
		if isLabelKey(key) && isLabelValue(value) && key != metaPort && key != metaAccount {
			w.Labels[key] = value
		}
	}
	if w.Labels["app"] == "" && isLabelValue(name) {
		w.Labels["app"] = name
	}
	w.ServiceAccount = attributes(e)[metaAccount]
	here := instancePorts(e)
	for _, p := range ports {
		if n := here[p.ofInstance]; n > 0 && uint32(n) != p.number {
			w.Ports[p.name] = uint32(n)
		}
	}
	weight := e.Service.Weights.Passing
	if e.Checks.AggregatedStatus() == api.HealthWarning {
		weight = e.Service.Weights.Warning
	}
	if weight > 0 {
		w.Weight = uint32(weight)
	}
	w.Locality = e.Node.Datacenter
	for _, l := range []*api.Locality{e.Service.Locality, e.Node.Locality} {
		if l != nil && l.Region != "" {
			w.Locality = strings.TrimSuffix(l.Region+"/"+l.Zone, "/")
			break
		}
	}
	return w
}

// isLabelValue: what a label may say, at most 63 bytes; what can't be one is
// left out.
func isLabelValue(s string) bool {
	outer := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
	if s == "" || len(s) > 63 || !outer(s[0]) || !outer(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !outer(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func isLabelKey(s string) bool {
	prefix, name, qualified := strings.Cut(s, "/")
	if !qualified {
		return isLabelValue(s)
	}
	return isLabelValue(prefix) && strings.ToLower(prefix) == prefix && !strings.Contains(prefix, "_") && isLabelValue(name)
}

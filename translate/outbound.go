package translate

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/listener"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/world"
)

const (
	anyIPv4 = "0.0.0.0"
	anyIPv6 = "::"
	unix    = "unix://"
)

// entry is one outbound listener while it is put together from the services that share its address.
type entry struct {
	bind   string
	port   uint32
	open   bool
	kind   listener.Kind
	proto  model.Protocol
	locked bool
	chains []outChain
}

// outChain is a chain with the rule that made it.
type outChain struct {
	listener.Chain
	route *model.VirtualService
	rule  model.RuleOrigin
	list  string // "tls" or "tcp"
	table routeTableName
}

// place is the address of a listener.
type place struct {
	bind string
	port uint32
}

// offer is one port of one service on its way to a listener.
type offer struct {
	service  *model.Service // as far as in scope
	port     uint32
	protocol model.Protocol
	bind     string
	open     bool
	egress   int
	cidrs    []string
}

// outboundPlan collects entries by address.
type outboundPlan struct {
	s       *scope
	entries map[place]*entry
}

// planOutbound decides which listeners there are, in the manner of Istio: one wildcard listener for the HTTP of a port, one
// for each address of a service whose bytes say nothing; where two want the same address, protocols are told apart by
// looking, and the older service wins what can't be.
func (s *scope) planOutbound() []*entry {
	p := &outboundPlan{s: s, entries: map[place]*entry{}}
	for i, e := range s.world.Egress {
		if e.Listener.GetPort() != nil {
			p.declared(i, e)
			continue
		}
		// What earlier listeners declared stays as they declared it.
		for _, en := range p.entries {
			en.locked = true
		}
		p.catchAll(i, e)
	}
	out := make([]*entry, 0, len(p.entries))
	for _, e := range p.entries {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *entry) int {
		return strings.Compare(naming.Listener(a.bind, a.port), naming.Listener(b.bind, b.port))
	})
	return out
}

// binding is where an egress listener wants its listeners, and whether they are really opened.
func (p *outboundPlan) binding(l *networking.IstioEgressListener) (bind string, open bool) {
	none := p.s.key.interception == model.InterceptNone
	open = none || l.GetCaptureMode() == networking.CaptureMode_NONE || strings.HasPrefix(l.GetBind(), unix)
	switch {
	case l.GetBind() != "":
		return l.GetBind(), open
	case none && p.s.key.bind.IsValid():
		return p.s.key.bind.String(), open
	case open:
		return p.s.env.Loopback(), open
	default:
		return "", open
	}
}

// declared handles an egress listener with a port of its own.
func (p *outboundPlan) declared(i int, e world.EgressScope) {
	bind, open := p.binding(e.Listener)
	port := e.Listener.GetPort()
	for _, svc := range byAge(e.Services) {
		p.offer(offer{
			service: svc, port: port.GetNumber(), protocol: sidecarProtocol(port), bind: bind, open: open, egress: i,
		})
	}
}

// sidecarProtocol reads a Sidecar port's protocol. HTTP_PROXY is HTTP whose requests name their host in full.
func sidecarProtocol(port *networking.SidecarPort) model.Protocol {
	if strings.EqualFold(port.GetProtocol(), "HTTP_PROXY") {
		return model.HTTP
	}
	return model.ParseProtocol(port.GetProtocol())
}

// catchAll handles an egress listener for all ports of its services.
func (p *outboundPlan) catchAll(i int, e world.EgressScope) {
	bind, open := p.binding(e.Listener)
	for _, svc := range byAge(e.Services) {
		for _, port := range svc.Ports {
			if port.Protocol == model.UDP || open && (p.own(port.Number) || p.privileged(port.Number)) {
				continue
			}
			p.offer(offer{service: svc, port: port.Number, protocol: port.Protocol, bind: bind, open: open, egress: i})
		}
	}
}

// own reports whether the workload itself listens on the port, so that nothing else may.
func (p *outboundPlan) own(port uint32) bool {
	return slices.Contains(strings.Split(p.s.key.own, ","), itoa(port))
}

// privileged reports a port that a proxy outside a namespace of its own may not open.
func (p *outboundPlan) privileged(port uint32) bool { return p.s.key.bind.IsValid() && port < 1024 }

// byAge orders services so that the older one wins an address.
func byAge(services []*model.Service) []*model.Service {
	out := slices.Clone(services)
	slices.SortStableFunc(out, (*model.Service).CompareAge)
	return out
}

// offer finds the addresses of one port of a service and merges it into the listeners there.
func (p *outboundPlan) offer(o offer) {
	svc := o.service
	if svc.Resolution == model.Alias {
		return
	}
	if listener.KindOf(o.protocol) == listener.KindHTTP {
		if o.bind == "" {
			o.bind = p.wildcard()
		}
		p.merge(o)
		return
	}
	if o.bind != "" {
		p.merge(o)
		return
	}
	addresses := p.s.addresses(svc)
	if len(addresses) == 0 && svc.Resolution == model.Passthrough {
		p.instances(o)
		return
	}
	if len(addresses) == 0 {
		o.bind = p.wildcard()
		p.merge(o)
	}
	for _, a := range addresses {
		one := o
		if strings.Contains(a, "/") {
			one.bind, one.cidrs = p.wildcard(), []string{a}
		} else {
			one.bind = a
		}
		p.merge(one)
	}
}

func (p *outboundPlan) wildcard() string {
	if p.s.key.ipv6 {
		return anyIPv6
	}
	return anyIPv4
}

// instances gives each endpoint of a headless service a listener of its own, so that services which share a port don't take
// each other's connections. Without endpoints only a ServiceEntry of any address gets the wildcard.
func (p *outboundPlan) instances(o offer) {
	set := p.s.snap.Endpoints(o.service.Key())
	whole := p.s.whole(o.service)
	_, index := whole.Port(o.port)
	found := false
	seen := map[string]bool{}
	for w := range set.Select(index, nil) {
		found = true
		if !isIP(w.Address) || seen[w.Address] {
			continue
		}
		seen[w.Address] = true
		one := o
		one.bind = w.Address
		p.merge(one)
	}
	if !found && o.service.Registry == model.ServiceEntryRegistry && o.service.Selector == nil {
		o.bind = p.wildcard()
		p.merge(o)
	}
}

// merge puts the port's chains into the listener at its address.
func (p *outboundPlan) merge(o offer) {
	at := place{o.bind, o.port}
	have := p.entries[at]
	if have != nil && have.locked {
		return
	}
	k := listener.KindOf(o.protocol)
	wild := o.bind == p.wildcard()
	if have != nil && k == listener.KindHTTP && have.kind != listener.KindTCP {
		return // its requests are told apart by host
	}
	if have != nil && k == listener.KindAuto && have.kind == listener.KindAuto {
		return
	}
	if have != nil && serverFirst(o.protocol, have.proto) {
		return
	}
	var chains []outChain
	if k != listener.KindHTTP {
		chains = p.s.l4Chains(o)
	}
	if k != listener.KindTCP {
		chains = append(chains, p.s.httpChain(o, k == listener.KindAuto || wild))
	}
	made := k
	if k == listener.KindHTTP && wild && !o.open {
		made = listener.KindAuto // connections that aren't HTTP fall through
	}
	if have == nil || k == listener.KindAuto && have.kind == listener.KindHTTP {
		p.entries[at] = &entry{bind: o.bind, port: o.port, open: o.open, kind: made, proto: o.protocol, chains: chains}
		return
	}
	for _, c := range chains {
		if !slices.ContainsFunc(have.chains, func(h outChain) bool { return sameMatch(h, c) }) {
			have.chains = append(have.chains, c)
		}
	}
	if made != have.kind {
		have.kind = listener.KindAuto
	}
}

// serverFirst reports a protocol in which the server speaks first meeting another one: looking at the bytes would hang.
func serverFirst(a, b model.Protocol) bool {
	first := func(p model.Protocol) bool { return p == model.Mongo || p == model.MySQL }
	return a != b && (first(a) || first(b))
}

func sameMatch(a, b outChain) bool {
	return a.Sniff == b.Sniff && sameSet(a.SNI, b.SNI) && sameSet(a.CIDRs, b.CIDRs)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// httpChain is the chain of a port's HTTP requests. sniff selects it by the bytes.
func (s *scope) httpChain(o offer, sniff bool) outChain {
	table := routeTableName{name: itoa(o.port), egress: o.egress, port: o.port, open: o.open}
	switch {
	case strings.HasPrefix(o.bind, unix):
		table.name, table.port = o.bind, 0
	case s.isHTTPProxy(o.egress):
		table.port = 0
	case listener.KindOf(o.protocol) == listener.KindAuto && o.bind != anyIPv4 && o.bind != anyIPv6 && !o.open:
		// The address says which service is meant, whatever the request's host.
		table.name = naming.VirtualHost(o.service.Hostname, o.port)
		table.only = o.service.Hostname
	}
	return outChain{
		Chain: listener.Chain{RouteName: table.name, Protocol: o.protocol, Sniff: sniff && !o.open},
		table: table,
	}
}

func (s *scope) isHTTPProxy(egress int) bool {
	return egress >= 0 && strings.EqualFold(s.world.Egress[egress].Listener.GetPort().GetProtocol(), "HTTP_PROXY")
}

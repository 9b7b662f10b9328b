package validation

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/mesh"
)

// meshConfigSpec judges what the user wrote together with the defaults below it.
func (c *checker) meshConfigSpec(s *config.MeshConfigSpec) {
	base := mesh.Default()
	base.ExtensionProviders = nil // so that an index in a complaint is the user's
	m, err := mesh.Apply(base, s)
	if err != nil {
		c.fault("spec", "", "%v", err)
		return
	}
	c.meshConfig("spec", m)
}

func (c *checker) meshConfig(at path, m *meshconfig.MeshConfig) {
	for name, n := range map[string]int32{"proxyListenPort": m.ProxyListenPort, "proxyInboundListenPort": m.ProxyInboundListenPort} {
		c.portNumber(at.to(name), n)
	}
	if m.ProxyHttpPort != 0 {
		c.portNumber(at.to("proxyHttpPort"), m.ProxyHttpPort)
	}
	c.duration(at.to("connectTimeout"), m.ConnectTimeout)
	c.notNegative(at.to("protocolDetectionTimeout"), m.ProtocolDetectionTimeout)
	c.notNegative(at.to("hboneIdleTimeout"), m.HboneIdleTimeout)
	c.duration(at.to("dnsRefreshRate"), m.DnsRefreshRate)
	if !isHost(m.TrustDomain) || strings.ToLower(m.TrustDomain) != m.TrustDomain {
		c.fault(at.to("trustDomain"), "Lower-case letters, digits, '-' and '.'", "%q is no trust domain", m.TrustDomain)
	}
	for i, a := range m.TrustDomainAliases {
		if !isHost(a) {
			c.fault(at.to("trustDomainAliases").at(i), "Letters, digits, '-' and '.'", "%q is no trust domain", a)
		}
	}
	if !isLabel(m.RootNamespace) {
		c.fault(at.to("rootNamespace"), "Lower-case letters, digits and '-'", "%q is no namespace", m.RootNamespace)
	}
	for name, list := range (lists{
		"defaultServiceExportTo": m.DefaultServiceExportTo, "defaultVirtualServiceExportTo": m.DefaultVirtualServiceExportTo,
		"defaultDestinationRuleExportTo": m.DefaultDestinationRuleExportTo,
	}) {
		c.exportTo(at.to(name), list)
	}
	c.localityLB(at.to("localityLbSetting"), m.LocalityLbSetting, true)
	c.retries(at.to("defaultHttpRetryPolicy"), m.DefaultHttpRetryPolicy)
	c.extensionProviders(at.to("extensionProviders"), m.ExtensionProviders)
	c.defaultProxy(at.to("defaultConfig"), m.DefaultConfig)
	c.configSources(at.to("configSources"), m.ConfigSources)
}

func (c *checker) extensionProviders(at path, providers []*meshconfig.MeshConfig_ExtensionProvider) {
	unique(c, at, "provider", providers, (*meshconfig.MeshConfig_ExtensionProvider).GetName)
	for i, p := range providers {
		at := at.at(i)
		if p.Name == "" {
			c.fault(at.to("name"), "Name it", "the provider has no name")
		}
		if p.Provider == nil {
			c.fault(at, "Add what it is, such as prometheus: {}", "the provider %q is of no type", p.Name)
		}
		c.providerTarget(at, p)
	}
}

// providerTarget checks service and port, which most types of provider have.
func (c *checker) providerTarget(at path, p *meshconfig.MeshConfig_ExtensionProvider) {
	m := p.ProtoReflect()
	which := m.WhichOneof(m.Descriptor().Oneofs().ByName("provider"))
	if which == nil {
		return
	}
	at = at.to(which.JSONName())
	target := m.Get(which).Message()
	if fd := target.Descriptor().Fields().ByName("service"); fd != nil {
		c.providerService(at.to("service"), target.Get(fd).String())
	}
	if fd := target.Descriptor().Fields().ByName("port"); fd != nil && fd.Kind() == protoreflect.Uint32Kind {
		c.port(at.to("port"), uint32(target.Get(fd).Uint()))
	}
}

// providerService: HOST or NAMESPACE/HOST.
func (c *checker) providerService(at path, s string) {
	if ns, h, ok := strings.Cut(s, "/"); ok {
		if !isLabel(ns) {
			c.fault(at, "Write NAMESPACE/HOST or HOST", "%q is no namespace", ns)
		}
		s = h
	}
	c.host(at, s)
}

func (c *checker) defaultProxy(at path, p *meshconfig.ProxyConfig) {
	if p == nil {
		return
	}
	c.duration(at.to("drainDuration"), p.DrainDuration)
	c.notNegative(at.to("terminationDrainDuration"), p.TerminationDrainDuration)
	for name, n := range map[string]int32{"proxyAdminPort": p.ProxyAdminPort, "statusPort": p.StatusPort} {
		if n != 0 {
			c.portNumber(at.to(name), n)
		}
	}
	if n := p.Concurrency; n != nil && n.Value < 0 {
		c.fault(at.to("concurrency"), "0 means all cores", "%d is negative", n.Value)
	}
	if p.DiscoveryAddress == "" {
		c.fault(at.to("discoveryAddress"), "Write HOST:PORT", "the control plane's address is empty")
	}
}

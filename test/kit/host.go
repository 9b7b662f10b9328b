package kit

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
)

// Engine is the program that is a host's proxy.
type Engine uint8

// The engines.
const (
	None Engine = iota // the host is no member of the mesh
	Lateen
	Envoy
)

// String returns the engine's name.
func (e Engine) String() string { return [...]string{"none", "lateen", "envoy"}[e] }

// Spec describes a host.
type Spec struct {
	Name           string
	Namespace      string // "default" when empty
	ServiceAccount string // "default" when empty
	Labels         map[string]string
	Locality       string // region/zone/subzone
	Engine         Engine
	// Gateway makes the proxy a gateway instead of a sidecar.
	Gateway bool
	// Opens are the ports that the host's gateway opens, which a network in memory has to know before.
	Opens []uint16
	// Ports are what the host's Server listens on.
	Ports []Port
	// Version is what the Server says of itself.
	Version string
}

// Port is one that a Server listens on.
type Port struct {
	Number   uint16
	Protocol string
}

// Host is a machine with an address, a program and perhaps a proxy.
type Host struct {
	Spec
	Addr   netip.Addr
	Server *Server // nil without ports

	mesh  *Mesh
	place Place
	proxy proxyOnHost
}

// proxyOnHost is a running proxy.
type proxyOnHost interface {
	// stop ends it at once and waits.
	stop()
	// log is what it has written so far: access logs and complaints.
	log() string
	// ready says whether it takes traffic.
	ready(ctx context.Context) error
	// admin asks its admin pages.
	admin(ctx context.Context, path string) (string, error)
}

func (s *Spec) fill() {
	s.Namespace = cmp.Or(s.Namespace, "default")
	s.ServiceAccount = cmp.Or(s.ServiceAccount, "default")
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
}

// NodeID is what the host's proxy calls itself.
func (h *Host) NodeID() string {
	kind := "sidecar"
	if h.Gateway {
		kind = "router"
	}
	return fmt.Sprintf("%s~%s~%s.%s~%s.svc.cluster.local", kind, h.Addr, h.Name, h.Namespace, h.Namespace)
}

// ID is the identity of the host's programs.
func (h *Host) ID() identity.ID {
	return identity.ID{TrustDomain: "cluster.local", Namespace: h.Namespace, ServiceAccount: h.ServiceAccount}
}

// Proxy is the host's proxy as the control plane knows it.
func (h *Host) Proxy() *model.Proxy {
	p := &model.Proxy{
		ID: h.NodeID(), Name: h.Name, Type: model.SidecarProxy, Flavor: model.LateenProxy, Namespace: h.Namespace,
		IPs: []netip.Addr{h.Addr}, Labels: h.Labels, ServiceAccount: h.ServiceAccount, TrustDomain: "cluster.local", WorkloadName: h.Name,
		CanonicalName: cmp.Or(h.Labels["app"], h.Name), CanonicalRevision: cmp.Or(h.Labels["version"], "latest"), Cluster: cluster,
		Locality: model.ParseLocality(h.Locality), Version: "test",
	}
	if h.Gateway {
		p.Type = model.GatewayProxy
	}
	p.Metadata = map[string]string{"LATEEN_VHDS": "true", "LATEEN_ECDS": "true", translate.MetaOnDemand: "true"}
	if h.Engine == Envoy {
		p.Flavor, p.Version, p.Metadata = model.StockEnvoy, "1.40.0", nil
	}
	return p
}

// Dial opens a connection as a program of the host.
func (h *Host) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return h.place.Dial(ctx, to)
}

// Log is what the host's proxy has written so far.
func (h *Host) Log() string {
	if h.proxy == nil {
		return ""
	}
	return h.proxy.log()
}

// Admin asks the proxy's admin pages.
func (h *Host) Admin(ctx context.Context, path string) (string, error) {
	if h.proxy == nil {
		return "", fmt.Errorf("host %s has no proxy", h.Name)
	}
	return h.proxy.admin(ctx, path)
}

// serve starts the host's Server.
func (h *Host) serve() error {
	if len(h.Ports) == 0 {
		return nil
	}
	h.Server = NewServer(h.Name, h.Version)
	for _, p := range h.Ports {
		l, err := h.place.Listen(net.JoinHostPort("0.0.0.0", strconv.Itoa(int(p.Number))))
		if err != nil {
			return fmt.Errorf("program of %s: %w", h.Name, err)
		}
		var cert *tls.Certificate
		if p.Protocol == "https" {
			if cert, err = h.mesh.externalCertificate(h.Name); err != nil {
				return err
			}
		}
		h.Server.Serve(l, p.Protocol, cert)
	}
	return nil
}

// Entry is the host's WorkloadEntry.
func (h *Host) Entry() File {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: %s, namespace: %s}\nspec:\n  address: %s\n",
		h.Name, h.Namespace, h.Addr)
	if h.Engine != None { // an identity is what tells clients to use mutual TLS
		fmt.Fprintf(&b, "  serviceAccount: %s\n", h.ServiceAccount)
	}
	if h.Locality != "" {
		fmt.Fprintf(&b, "  locality: %s\n", h.Locality)
	}
	b.WriteString("  labels:\n")
	labels := maps.Clone(h.Labels)
	if h.Engine != None {
		labels["security.istio.io/tlsMode"] = "istio"
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "    %s: %q\n", k, labels[k])
	}
	if len(labels) == 0 {
		b.WriteString("    kit: host\n")
	}
	return File{Name: "host-" + h.Name + ".yaml", Data: b.String(), Namespace: h.Namespace}
}

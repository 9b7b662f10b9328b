package kit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
)

// Mesh is a control plane with hosts.
type Mesh struct {
	Control *Control

	t       testing.TB
	network Network

	mu    sync.Mutex // guards what follows
	hosts map[string]*Host
	// names are what external DNS knows.
	names map[string][]netip.Addr
	next  int
}

// NewMesh makes a mesh without hosts on a network, which it then owns. It is torn down with the test. Without a network
// (nil) nothing runs on the hosts, and all that can be done is Decide.
func NewMesh(t testing.TB, n Network) *Mesh {
	t.Helper()
	m := &Mesh{t: t, network: n, hosts: map[string]*Host{}, names: map[string][]netip.Addr{}}
	m.Control = NewControl(t)
	t.Cleanup(m.close) // before the control plane's own
	if err := m.serveDNS(); err != nil {
		t.Fatal(err)
	}
	return m
}

// AddHost puts a host into the network and starts its program; members of the mesh get their WorkloadEntry at once, and
// their proxy by Start.
func (m *Mesh) AddHost(s Spec) (*Host, error) {
	s.fill()
	m.mu.Lock()
	if m.hosts[s.Name] != nil {
		m.mu.Unlock()
		return nil, fmt.Errorf("host %s is there already", s.Name)
	}
	m.next++
	addr := netip.AddrFrom4([4]byte{10, 10, 1, byte(m.next)})
	h := &Host{Spec: s, Addr: addr, mesh: m}
	m.hosts[s.Name] = h
	m.mu.Unlock()
	var err error
	if m.network != nil {
		if h.place, err = m.network.Place(s.Name, addr); err != nil {
			return nil, err
		}
		if err := h.serve(); err != nil {
			return nil, err
		}
	}
	return h, m.Control.Apply(h.Entry())
}

// Host finds a host by name; nil if there is none.
func (m *Mesh) Host(name string) *Host {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hosts[name]
}

// Hosts are all hosts, in no order.
func (m *Mesh) Hosts() []*Host {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*Host, 0, len(m.hosts))
	for _, h := range m.hosts {
		out = append(out, h)
	}
	return out
}

// Start starts the proxies of hosts and waits until all of them take traffic.
func (m *Mesh) Start(ctx context.Context, hosts ...*Host) error {
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { errs[i] = h.start(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (h *Host) start(ctx context.Context) error {
	if h.Engine == None || h.place == nil {
		return nil
	}
	material, err := h.mesh.Control.Join(h.NodeID(), h.Proxy(), h.ID())
	if err != nil {
		return err
	}
	switch h.Engine {
	case Envoy:
		h.proxy, err = startEnvoy(h)
	case Lateen:
		h.proxy, err = startLateen(h, material)
	}
	if err == nil {
		err = h.place.Capture(!h.Gateway)
	}
	if err == nil {
		err = h.proxy.ready(ctx)
	}
	if err != nil {
		return fmt.Errorf("proxy of %s: %w\n%s", h.Name, err, h.Log())
	}
	return nil
}

// Kill ends a host's program, and with its proxy too if all is to go. Its WorkloadEntry stays.
func (h *Host) Kill(proxyToo bool) {
	if h.Server != nil {
		h.Server.Close()
	}
	if proxyToo && h.proxy != nil {
		h.proxy.stop()
	}
}

// Leave takes a host's WorkloadEntry away.
func (h *Host) Leave() error {
	return h.mesh.Control.Delete(config.Key{Kind: config.WorkloadEntry, Namespace: h.Namespace, Name: h.Name})
}

// Name tells external DNS of a name.
func (m *Mesh) Name(name string, addrs ...netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names[strings.ToLower(name)] = addrs
}

// LookupNetIP resolves names as external DNS does, for proxies in memory.
func (m *Mesh) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	if addrs := m.lookUp(name); len(addrs) > 0 {
		return slices.Clone(addrs), nil // whoever asks may sort them
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (m *Mesh) lookUp(name string) []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.names[strings.ToLower(strings.TrimSuffix(name, "."))]
}

// nowhere is what names resolve to that nobody knows: captured programs get to their proxy all the same.
func nowhere() netip.Addr { return netip.MustParseAddr("192.0.2.1") }

// Resolve finds where a program of the host connects to for an authority: the virtual address of a service (an endpoint,
// for programs outside the mesh), what external DNS says, or the address itself.
func (m *Mesh) Resolve(h *Host, authority string, port uint16) (netip.AddrPort, error) {
	name, p, err := net.SplitHostPort(authority)
	if err != nil {
		name = authority
	} else {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("port of %q: %w", authority, err)
		}
		port = uint16(n)
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return netip.AddrPortFrom(a, port), nil
	}
	if other := m.Host(name); other != nil && h.Engine == None {
		return netip.AddrPortFrom(other.Addr, port), nil
	}
	for _, full := range []string{name, name + "." + h.Namespace + ".svc.cluster.local", name + ".svc.cluster.local", name + ".cluster.local"} {
		for _, svc := range m.Control.World.Snapshot().ServicesByHost(full) {
			if to, ok := m.reach(h, svc, port); ok {
				return to, nil
			}
		}
	}
	if addrs := m.lookUp(name); len(addrs) > 0 {
		return netip.AddrPortFrom(addrs[0], port), nil
	}
	return netip.AddrPortFrom(nowhere(), port), nil
}

func (m *Mesh) reach(h *Host, svc *model.Service, port uint16) (netip.AddrPort, bool) {
	snap := m.Control.World.Snapshot()
	for _, n := range snap.Names([]*model.Service{svc}) {
		if h.Engine != None && len(n.Addresses) > 0 {
			return netip.AddrPortFrom(n.Addresses[0], port), true
		}
	}
	if h.Engine != None {
		return netip.AddrPort{}, false
	}
	if _, index := svc.Port(uint32(port)); index >= 0 {
		for w, target := range snap.Endpoints(svc.Key()).Select(index, nil) {
			if a, err := netip.ParseAddr(w.Address); err == nil {
				return netip.AddrPortFrom(a, uint16(target)), true
			}
		}
	}
	return netip.AddrPort{}, false
}

// externalCertificate is one that nobody trusts, for programs that speak TLS themselves.
func (m *Mesh) externalCertificate(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		NotBefore: time.Now().Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func (m *Mesh) close() {
	var wg sync.WaitGroup
	for _, h := range m.Hosts() {
		wg.Go(func() { h.Kill(true) })
	}
	wg.Wait()
	if m.network == nil {
		return
	}
	if err := m.network.Close(); err != nil {
		m.t.Errorf("closing the network: %v", err)
	}
}

// Package dataplane composes a proxy: identity, discovery client, state, engine,
// DNS and admin pages. It is what a sidecar, a gateway and cmd/lateen-proxy have
// in common, and links nothing of the control plane.
//
// Who calls it: app and cmd/lateen-proxy.
//
// Goroutines: Start returns at once; Close ends everything that it started and
// waits for it.
//
// May import: proxy, xds, wire, identity, telemetry, lib.
package dataplane

import (
	"context"
	"net"
	"net/netip"
	"time"

	"lateen.dev/lateen/telemetry"
)

// Socket is a listening socket at which a workload's connections from others
// arrive; they mean to go to OriginalDst.
type Socket struct {
	Listener    net.Listener
	OriginalDst netip.AddrPort
}

// Captured is where a program's own connections arrive.
type Captured struct {
	Listener    net.Listener
	OriginalDst func(net.Conn) (netip.AddrPort, error)
}

// Config is what a proxy under a control plane is made of.
type Config struct {
	// Discovery is the control plane's TLS address; Root (PEM) is what its
	// certificate must lead to. Token proves who we are until there is a
	// certificate.
	Discovery string
	Root      []byte
	Token     func(context.Context) (string, error)

	// Who we are.
	Gateway                         bool
	Name, Namespace, ServiceAccount string
	TrustDomain                     string
	Address                         netip.Addr
	Labels, Annotations             map[string]string
	WorkloadName                    string
	Locality                        string
	Cluster, MeshID                 string
	InterceptionMode                string
	DNSCapture                      bool
	Metadata                        map[string]string
	Version                         string

	// Where traffic comes from and how it reaches the program.
	Outbound    *Captured
	Inbound     []Socket
	DialProgram func(ctx context.Context, port uint16) (net.Conn, error)
	DNSPackets  []net.PacketConn
	DNSStreams  net.Listener

	// Admin is where the admin pages are served.
	Admin netip.AddrPort
	// AccessLog takes what configuration sends to /dev/stdout and /dev/stderr;
	// "" leaves those to the process.
	AccessLog string
	Scopes    *telemetry.Scopes

	// Restart is how another process takes over from this one, or this one from another; the zero value switches that off.
	Restart RestartOptions
	// DrainTime is how long idle connections may stay in a process that another one has taken over from; 45 s by default.
	DrainTime time.Duration
}

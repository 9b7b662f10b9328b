package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/transport"
	"lateen.dev/lateen/wire/proxyproto"
	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/tlsconn"
)

// Dialer opens connections to endpoints. network is "tcp" or "unix".
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dialer returns the caller's own dialer for the cluster, or one that follows its socket options.
func (s *Set) dialer(cfg *plan.Cluster) Dialer {
	if s.opts.Dial != nil {
		if d := s.opts.Dial(cfg.Name); d != nil {
			return d
		}
	}
	d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}
	if k := cfg.KeepAlive; k != nil {
		d.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: k.Time, Interval: k.Interval, Count: int(k.Probes)}
		d.KeepAlive = 0
	}
	if cfg.SourceAddress.IsValid() && !cfg.SourceAddress.Addr().IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(cfg.SourceAddress)
	}
	return d.DialContext
}

// ConnectError is why there is no connection to a host.
type ConnectError struct {
	// Timeout says that the connect timeout passed, Overflow that a circuit breaker limit was reached, TLS that the
	// handshake failed.
	Timeout, Overflow, TLS bool
	Err                    error
}

// Error implements error.
func (e *ConnectError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// errOverflow is the cause of overflows.
var errOverflow = errors.New("circuit breaker: too many connections or pending requests")

// ConnectOptions vary a connection.
type ConnectOptions struct {
	Shard uint32
	// SNI and ALPN replace those of the cluster's TLS context when not empty. ALPN must be a slice of the plan.
	SNI  string
	ALPN []string
	// Source and Destination are the client's connection, for clusters that send a PROXY header.
	Source, Destination netip.AddrPort
	Deadline            sock.Instant
}

// Link is an open connection to a host.
type Link struct {
	Conn  *sock.Conn
	TLS   *tlsconn.Result // nil for plain text
	Local netip.AddrPort
	host  *Host
	shard uint32
	since sock.Instant // when it was opened
}

// old tells whether the connection has been open for that long. A nil link is not.
func (l *Link) old(limit time.Duration, now sock.Instant) bool {
	return l != nil && now.Sub(l.since) >= limit
}

// Connect opens a connection for the caller alone, TLS and all, within the cluster's connect timeout. The caller ends
// it with Release.
func (h *Host) Connect(ctx context.Context, o *ConnectOptions) (*Link, error) {
	c := h.cluster
	b := &c.breakers[0]
	if !take(&b.connections, c.Config().Limits[0].MaxConnections) {
		c.Stats.Inc(o.Shard, CxOverflow)
		return nil, &ConnectError{Overflow: true, Err: errOverflow}
	}
	l, err := h.connect(ctx, o)
	if err != nil {
		b.connections.Add(-1)
	}
	return l, err
}

// Release closes the connection and takes it off the books.
func (l *Link) Release() {
	// The connection is given up; what closing it could report has no reader.
	_ = l.Conn.Close()
	l.gone()
}

// gone takes the connection, which has been closed, off the books.
func (l *Link) gone() {
	c := l.host.cluster
	c.breakers[0].connections.Add(-1)
	l.host.Stats.CxActive.Add(-1)
	c.Stats.Add(l.shard, CxActive, -1)
	c.Stats.Inc(l.shard, CxDestroy)
	c.Stats.Add(l.shard, CxRxBytes, l.Conn.BytesRead())
	c.Stats.Add(l.shard, CxTxBytes, l.Conn.BytesWritten())
}

// connect dials and counts; the circuit breaker has been asked already.
func (h *Host) connect(ctx context.Context, o *ConnectOptions) (*Link, error) {
	c := h.cluster
	c.Stats.Inc(o.Shard, CxTotal)
	h.Stats.CxTotal.Add(1)
	timeout := c.Config().ConnectTimeout
	if timeout <= 0 {
		timeout = 5 * time.Second
	}
	if o.Deadline != 0 {
		timeout = min(timeout, max(time.Millisecond, o.Deadline.Sub(sock.Now())))
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	l, err := h.open(ctx, o, timeout)
	if err != nil {
		c.Stats.Inc(o.Shard, CxConnectFail)
		h.Stats.CxConnectFail.Add(1)
		var ce *ConnectError
		if !errors.As(err, &ce) {
			ce = &ConnectError{Timeout: errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil, Err: err}
		}
		if ce.Timeout {
			c.Stats.Inc(o.Shard, CxConnectTimeout)
		}
		return nil, ce
	}
	c.Stats.Inc(o.Shard, CxActive)
	h.Stats.CxActive.Add(1)
	return l, nil
}

func (h *Host) open(ctx context.Context, o *ConnectOptions, timeout time.Duration) (*Link, error) {
	network, address := h.where()
	return h.openAt(ctx, network, address, o, timeout)
}

// where is the host's address as a Dialer takes it.
func (h *Host) where() (network, address string) {
	if !h.key.addr.IsValid() {
		return "unix", h.key.name
	}
	return "tcp", h.key.addr.String()
}

func (h *Host) openAt(ctx context.Context, network, address string, o *ConnectOptions, timeout time.Duration) (*Link, error) {
	nc, err := h.cluster.dial(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", address, err)
	}
	l := &Link{Conn: sock.New(nc), Local: localOf(nc), host: h, shard: o.Shard, since: sock.Now()}
	if err := h.handshake(l, o, timeout); err != nil {
		// The connection is given up; the handshake's error is what counts.
		_ = l.Conn.Close()
		return nil, err
	}
	return l, nil
}

func localOf(nc net.Conn) netip.AddrPort {
	if a, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// handshake sends the PROXY header and makes the TLS handshake, as the host's transport socket has it.
func (h *Host) handshake(l *Link, o *ConnectOptions, timeout time.Duration) error {
	cfg, e := h.cluster.Config(), h.Endpoint()
	if v := cfg.ProxyProtocolFor(e); v != 0 && o.Source.IsValid() {
		var p []byte
		if v == 1 {
			p = proxyproto.AppendV1(nil, o.Source, o.Destination)
		} else {
			p = proxyproto.AppendV2(nil, o.Source, o.Destination, nil)
		}
		if _, err := l.Conn.Write(p); err != nil {
			return fmt.Errorf("sending PROXY header: %w", err)
		}
	}
	t := cfg.TLSFor(e)
	if t == nil {
		return nil
	}
	sni := o.SNI
	if t.AutoHostSNI && e.Hostname != "" {
		sni = e.Hostname
	}
	client, err := h.client(t, sni, o.ALPN, timeout)
	if err != nil {
		return &ConnectError{TLS: true, Err: err}
	}
	r, err := client.Handshake(l.Conn)
	if err != nil {
		h.cluster.Stats.Inc(o.Shard, TLSFailures)
		return &ConnectError{TLS: true, Timeout: errors.Is(err, sock.ErrTimeout), Err: fmt.Errorf("TLS_error: %w", err)}
	}
	h.cluster.Stats.Inc(o.Shard, TLSHandshakes)
	l.TLS = &r
	if id := r.PeerID(); id != "" && id != h.Principal() {
		h.principal.Store(&id)
		h.Peer.Store(nil)
	}
	return nil
}

// client returns the TLS client for an SNI and ALPN, making it on first use.
func (h *Host) client(t *plan.UpstreamTLS, sni string, alpn []string, timeout time.Duration) (*tlsconn.Client, error) {
	key := clientKey{sni: sni, alpn: joinALPN(alpn)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if cl := h.clients[key]; cl != nil {
		return cl, nil
	}
	cl, err := h.cluster.set.opts.Transport.Client(t, transport.ClientConfig{SNI: sni, ALPN: alpn, Timeout: timeout})
	if err != nil {
		return nil, err
	}
	if h.clients == nil || len(h.clients) >= maxClients {
		h.clients = map[clientKey]*tlsconn.Client{}
	}
	h.clients[key] = cl
	return cl, nil
}

// maxClients bounds the TLS clients of one host: with auto_sni there is one for each name asked for.
const maxClients = 64

func joinALPN(list []string) string {
	switch len(list) {
	case 0:
		return ""
	case 1:
		return list[0]
	}
	s := list[0]
	for _, p := range list[1:] {
		s += "," + p
	}
	return s
}

// Refused tells whether a connect error means that nobody listens there.
func Refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

package listen

import (
	"net/netip"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/lib/drain"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/tlsconn"
)

// Accepted is a connection whose filter chain has been chosen.
type Accepted struct {
	Conn     *sock.Conn
	ID       uint64
	Shard    uint32
	Start    time.Time
	Listener *plan.Listener
	Chain    *plan.FilterChain // nil when no chain took the connection
	// Destination is where the client meant to connect to: the original destination, or Local.
	Destination netip.AddrPort
	// Restored tells that Destination is not Local.
	Restored bool
	Local    netip.AddrPort
	// Direct is the peer; Remote is the client: the same unless a PROXY header told otherwise.
	Direct, Remote netip.AddrPort
	// SNI and ALPN are what the client offered, or what the HTTP inspector found.
	SNI  string
	ALPN []string
	// TLS is nil for plain text.
	TLS *tlsconn.Result
	// Drain tells when the connection should come to its end.
	Drain *drain.Drain
	// Stats of the listener.
	Stats *Stats
	// ready says that Listener, Drain and Stats are set; ending is what OnDrain set, and relief what OnPressure did.
	ready  atomic.Bool
	ending atomic.Pointer[func(hurry bool)]
	relief atomic.Pointer[Relief]
	// Why is set when there is no chain, or the handshake failed.
	Why error
}

// Protocol is what was agreed by ALPN in the handshake; empty without TLS or agreement.
func (a *Accepted) Protocol() string {
	if a.TLS == nil {
		return ""
	}
	return a.TLS.ALPN
}

// OnDrain has f called when the connection should look whether it may end: when draining begins, and, with hurry, when
// those that wait for a request are to go. f must not block, and may be called by any goroutine until the connection
// has been served.
func (a *Accepted) OnDrain(f func(hurry bool)) {
	a.ending.Store(&f)
	if a.Drain.Hurried() {
		f(true)
	}
}

func (a *Accepted) tell(hurry bool) {
	if f := a.ending.Load(); f != nil {
		(*f)(hurry)
	}
}

// Relief is what a connection can do when the process runs out of something. Its methods must not block, and may be called
// by any goroutine until the connection has been served.
type Relief interface {
	// Reconsider looks at the timeouts again, which have become shorter.
	Reconsider()
	// ResetStreams resets streams that hold so many bytes or more, most of them at most, and returns how many it were.
	ResetStreams(bytes int64, most int) int
}

// OnPressure names what is to be told of pressure.
func (a *Accepted) OnPressure(r Relief) { a.relief.Store(&r) }

func (a *Accepted) facts() plan.ConnFacts {
	f := plan.ConnFacts{
		Destination: a.Destination, ServerName: a.SNI, Transport: "raw_buffer", ALPN: a.ALPN,
		DirectSource: a.Direct.Addr(), Source: a.Remote, Local: a.Local.Addr(),
	}
	return f
}

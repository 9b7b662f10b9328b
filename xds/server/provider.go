package server

import (
	"context"
	"net"
	"time"

	"lateen.dev/lateen/xds"
)

// Peer is who stands at the other end of a stream, as far as it has proven.
type Peer struct {
	// ID is the proven SPIFFE id; "" for a plain-text client on loopback.
	ID string
	// Source is the kind of proof: "token", "certificate" or "loopback".
	Source string
	Addr   net.Addr
}

// Provider is the control plane behind the server: it knows what each client
// shall have.
type Provider interface {
	// Attach is called once for each stream, after its first request has told
	// the node and the peer has been authenticated. It may block (a translation
	// for a new kind of client takes its time); the context ends with the
	// stream. An error ends the stream with that message.
	//
	// The ledger's ID of the client is handed over so that both sides speak of
	// the same one. The provider may take Attach and Close as the client's
	// coming and going, WorkloadEntry registration included.
	Attach(ctx context.Context, c Client) (Session, error)
}

// Client is one connected stream.
type Client struct {
	// Stream is unique among all streams of this process.
	Stream uint64
	Node   *xds.Node
	Peer   Peer
	// Since is when the stream was accepted.
	Since time.Time
}

// Session is what the provider keeps for one stream. Its methods are called
// from several goroutines.
type Session interface {
	// State is the newest state, never nil once Changed has fired or Attach has
	// returned.
	State() *xds.State
	// Changed has a capacity of one and receives after State has begun to
	// return another value. Several changes may merge into one signal.
	Changed() <-chan struct{}
	// Close tells that the stream has ended. It is called exactly once.
	Close()
}

// Follower is a Session that tells of changes itself, which spares the server
// a goroutine's waking for each client and change.
type Follower interface {
	// Follow is called once, soon after Attach, instead of Changed. push shall be
	// called after State has begun to return another value, and no lock may be
	// held that State, Demand or Close takes. It does the client's share of the
	// work and does not wait for it. Several changes may merge into one call;
	// after Close it does nothing.
	Follow(push func())
}

// Lasting is a Session whose State stays the same value for revisions that
// bring its client nothing. It tells Ledger.Settle of those.
type Lasting interface {
	// Upto is the newest revision for which a State that the session has, or had
	// last before the one it has now, is or was right; for other States it is
	// their own. It must not block.
	Upto(state *xds.State) uint64
}

// Demander is a Session that can produce resources which nobody needs before
// they are asked for by name.
type Demander interface {
	// Demand tells which names the client now subscribes to that the current
	// State does not have. The session may extend its State and signal Changed.
	// It must not block.
	Demand(typeURL string, names []string)
}

// Healthy is a Session that wants to know how its client's workload does, as
// Istio's agents tell by requests of the type HealthInformation.
type Healthy interface {
	// Health tells it, with the reason if the workload does not do well. An error
	// is logged.
	Health(healthy bool, reason string) error
}

// Asker is a Session that wants to know what its client asks for by name.
type Asker interface {
	// Asked tells the names of a request. It must not block.
	Asked(typeURL string, names []string)
}

// Authenticate proves who the client is, from what its connection and its
// headers carry, and that its node does not claim to be somebody else. Its
// error is shown to the client; give it a gRPC status.
type Authenticate func(ctx context.Context, node *xds.Node) (Peer, error)

// Metrics receives the server's counts. Methods are called often and from many
// goroutines; they must be quick.
type Metrics interface {
	// Connected adds to the number of open streams (pilot_xds).
	Connected(delta int)
	// Pushed counts one response sent (pilot_xds_pushes).
	Pushed(typeURL string, bytes int)
	// Refused counts one NACK (pilot_total_xds_rejects).
	Refused(typeURL string, c *Client)
	// Held adds to the bytes that the subscriptions of all clients take.
	Held(delta int64)
	// Queued adds to the bytes of responses that wait for one client alone.
	Queued(delta int64)
	// Converged is the time from a change to this client's last ACK of it
	// (pilot_proxy_convergence_time).
	Converged(d time.Duration)
	// Distributed is the time from a change to the last ACK of it, among all
	// clients that had a whole configuration when it came.
	Distributed(d time.Duration)
}

// NoMetrics drops all counts.
type NoMetrics struct{}

func (NoMetrics) Connected(int)           {}
func (NoMetrics) Pushed(string, int)      {}
func (NoMetrics) Refused(string, *Client) {}
func (NoMetrics) Held(int64)              {}
func (NoMetrics) Queued(int64)            {}
func (NoMetrics) Converged(time.Duration) {}

// Distributed implements Metrics.
func (NoMetrics) Distributed(time.Duration) {}

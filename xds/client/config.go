package client

import (
	"context"
	"log/slog"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"lateen.dev/lateen/xds"
)

// Handler takes updates into use.
type Handler interface {
	// Update is called with each response's changes. It returns a Refusal for
	// each resource that cannot be used; the others of the same update are in
	// use when it returns. Subscriptions that it adds reach the server before
	// the answer to this update, so that a server which makes before it breaks
	// sends what this update needs before what comes after it.
	Update(ctx context.Context, u xds.Update) []xds.Refusal
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, u xds.Update) []xds.Refusal

// Update calls the function.
func (f HandlerFunc) Update(ctx context.Context, u xds.Update) []xds.Refusal { return f(ctx, u) }

// Config says whom to ask for what.
type Config struct {
	// Target and DialOptions are gRPC's: credentials, per-call tokens and
	// dialers come from the caller.
	Target      string
	DialOptions []grpc.DialOption
	// Type, if set, asks the discovery service of that one type instead of the aggregated one.
	Type string
	// Node says who asks; xds.Node.Encode makes one.
	Node *corev3.Node
	// Wildcards are the types to subscribe to as a whole, in this order. Names
	// of other types are added by Subscribe.
	Wildcards []string
	// SotW chooses the state-of-the-world protocol instead of delta.
	SotW    bool
	Handler Handler
	// Ended, if set, hears why each stream ended, in Run's goroutine.
	Ended func(error)
	Log   *slog.Logger
	// Backoff bounds the time between attempts; zero values mean 100 ms to 10 s.
	BackoffMin, BackoffMax time.Duration
	// MaxMessageBytes bounds one response; zero means 256 MiB.
	MaxMessageBytes int
}

// Status is what the client has at the moment.
type Status struct {
	// Connected since; the zero time while there is no stream.
	Connected time.Time
	// LastError is why the last stream ended, nil before the first end.
	LastError error
	// Types is sorted in the order of additions.
	Types []TypeStatus
}

// TypeStatus is a client's view of one type.
type TypeStatus struct {
	TypeURL string
	// Version of the last response; "" before the first.
	Version string
	// Resources held, Names subscribed to.
	Resources int
	Names     int
	Wildcard  bool
	// Received is when the last response came.
	Received time.Time
	// Refusals of the last response that had any, with the time.
	Refusals  []xds.Refusal
	RefusedAt time.Time
}

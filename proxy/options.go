package proxy

import (
	"log/slog"
	"net"
	"runtime"
	"time"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/overload"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
)

// Options of a Proxy. Only Current and Logger are required.
type Options struct {
	// Current is where the plan in force hangs; proxy/state publishes it.
	Current *plan.Current
	Logger  *slog.Logger
	// Identity has the certificate and roots that SDS calls default and ROOTCA.
	Identity *identity.Holder
	// NodeID is the xDS node's id, InstanceName the workload instance's; Labels are the workload as metrics name it.
	// Peers are told all of them.
	NodeID, InstanceName string
	Labels               telemetry.Peer
	// Standard are Istio's metrics; nil switches them off.
	Standard *telemetry.Standard

	// Sockets are given for listeners by name, which then bind nothing themselves: virtualOutbound from a workload's
	// namespace, virtualInbound at its own loopback address. They are closed by Drain.
	Sockets map[string][]listen.Socket
	// Dial returns how to reach the endpoints of a cluster, or nil for the usual way.
	Dial func(cluster string) upstream.Dialer
	// Resolver resolves names of DNS clusters; nil is the machine's.
	Resolver upstream.Resolver

	// Shards is the number of worker shards; 0 is one per processor.
	Shards int
	// MaxConnections limits open downstream connections; 0 is no limit.
	MaxConnections int64
	// DrainTime is how long connections of a changed or removed listener may go on, and how long listeners accept that
	// are drained gracefully; 45 s by default.
	DrainTime time.Duration
	// Inherit returns a listening socket of the process before this one, by the key that Sockets gave it, or nil; may be
	// nil. Hold keeps listeners from accepting until Begin.
	Inherit func(key string) net.Listener
	Hold    bool
	// Overload says when requests and connections are refused; nil never does.
	Overload *overload.State
	// OpenLog opens an access log; nil opens files with telemetry.OpenFileSink.
	OpenLog func(path string) (LogSink, error)
}

// LogSink takes rendered access log lines.
type LogSink interface {
	Write(line []byte)
	Close() error
}

// logInterval is how long a line may wait to be written together with others.
const logInterval = 100 * time.Millisecond

func (o Options) withDefaults() Options {
	if o.Shards <= 0 {
		o.Shards = runtime.GOMAXPROCS(0)
	}
	if o.OpenLog == nil {
		o.OpenLog = func(path string) (LogSink, error) { return telemetry.OpenFileSink(path, logInterval) }
	}
	return o
}

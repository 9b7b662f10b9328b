package tcp

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/peer"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/relay"
)

// Engine is what all TCP connections of a proxy share.
type Engine struct {
	// Current is the plan in force.
	Current *plan.Current
	// Self is this workload.
	Self peer.Self
	// Standard are Istio's metrics; nil switches them off.
	Standard *telemetry.Standard
	Logger   *slog.Logger

	mu   sync.Mutex // guards open
	open map[*session]struct{}
}

// reportInterval is how often the bytes of open connections are counted, as
// Istio does.
const reportInterval = 5 * time.Second

// Run counts the bytes of open connections from time to time, until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range e.sessions() {
			s.report()
		}
	}
}

func (e *Engine) sessions() []*session {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]*session, 0, len(e.open))
	for s := range e.open {
		list = append(list, s)
	}
	return list
}

// session is one connection.
type session struct {
	engine   *Engine
	accepted *listen.Accepted
	config   *plan.TCPProxy
	cluster  *plan.Cluster
	host     *upstream.Host // nil before a connection stands
	record   telemetry.Record
	counters relay.Counters
	told     telemetry.Peer // who the peer says that it is

	mu       sync.Mutex // serialises report
	bound    *telemetry.Bound
	reported struct{ received, sent int64 }
}

// Serve forwards a connection to its end. t is the chain's terminal filter.
func (e *Engine) Serve(ctx context.Context, a *listen.Accepted, t *plan.TCPProxy) {
	s := &session{engine: e, accepted: a, config: t}
	s.begin()
	if t.MaxDuration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.MaxDuration)
		defer cancel()
	}
	if link := s.connect(ctx); link != nil {
		if err := s.exchange(link); err != nil {
			s.record.Termination = err.Error()
		} else {
			s.bind(link)
			s.relay(ctx, link)
		}
		link.Release()
	}
	s.end()
}

func (s *session) begin() {
	a := s.accepted
	s.record = telemetry.Record{Start: a.Start, Protocol: telemetry.ProtocolTCP, GRPCStatus: -1, ConnectionID: a.ID,
		RequestedServer: a.SNI, DownstreamLocal: a.Destination, DownstreamRemote: a.Remote, DownstreamDirect: a.Direct}
	if a.TLS != nil {
		s.record.DownstreamPeerURI = a.TLS.PeerID()
	}
}

// connect picks a cluster and a host, and opens a connection; nil if there is
// none, with the reason in the record.
func (s *session) connect(ctx context.Context) *upstream.Link {
	s.cluster = s.chooseCluster()
	cluster := upstream.Of(s.cluster)
	if cluster == nil {
		s.record.Flags |= telemetry.FlagNoClusterFound
		return nil
	}
	s.record.UpstreamCluster = cluster.Name
	choice := upstream.Choice{Shard: s.accepted.Shard, OriginalDst: s.accepted.Destination, Attempts: hostAttempts}
	if s.config.HashSourceIP {
		choice.Hash, choice.HasHash = hashAddr(s.accepted.Remote.Addr()), true
	}
	for range max(1, s.config.MaxConnectAttempts) {
		host := cluster.Pick(&choice)
		if host == nil {
			s.record.Flags |= telemetry.FlagNoHealthyUpstream
			return nil
		}
		s.record.UpstreamAttempts++
		link, err := host.Connect(ctx, &upstream.ConnectOptions{Shard: s.accepted.Shard, Source: s.accepted.Remote, Destination: s.accepted.Destination})
		if err == nil {
			s.record.UpstreamHost, s.record.UpstreamHostName, s.record.UpstreamLocal = host.Addr(), host.Name(), link.Local
			s.record.Flags &^= telemetry.FlagUpstreamConnectionFailure | telemetry.FlagUpstreamOverflow
			s.host = host
			return link
		}
		s.failed(host, err)
		choice.Avoid = append(choice.Avoid, host)
	}
	s.record.Flags |= telemetry.FlagUpstreamRetryLimitExceeded
	if s.config.MaxConnectAttempts <= 1 {
		s.record.Flags &^= telemetry.FlagUpstreamRetryLimitExceeded
	}
	return nil
}

// hostAttempts is how many hosts are drawn to find one that was not tried.
const hostAttempts = 5

func (s *session) failed(host *upstream.Host, err error) {
	var why *upstream.ConnectError
	if errors.As(err, &why) && why.Overflow {
		s.record.Flags |= telemetry.FlagUpstreamOverflow
	} else {
		s.record.Flags |= telemetry.FlagUpstreamConnectionFailure
		host.Report(0, true)
	}
	s.record.UpstreamHost = host.Addr()
	s.record.UpstreamFailure = err.Error()
	s.engine.Logger.Debug("no connection", "cluster", s.record.UpstreamCluster, "host", host.Addr(), "error", err)
}

// chooseCluster draws by weight; after an SNI filter the name asked for is the
// cluster's.
func (s *session) chooseCluster() *plan.Cluster {
	p := s.engine.Current.Load()
	for i := range s.accepted.Chain.Filters {
		if _, ok := s.accepted.Chain.Filters[i].Config.(*plan.SNICluster); ok {
			return p.ClusterNamed([]byte(s.accepted.SNI))
		}
	}
	list := s.config.Clusters
	if len(list) == 1 {
		return p.Cluster(list[0].Cluster)
	}
	if s.config.TotalWeight == 0 {
		return nil
	}
	at := rand.Uint64N(s.config.TotalWeight)
	for i := range list {
		if w := uint64(list[i].Weight); at >= w {
			at -= w
			continue
		}
		return p.Cluster(list[i].Cluster)
	}
	return nil
}

// hashAddr is FNV-1a over the address.
func hashAddr(a netip.Addr) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range a.AsSlice() {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}

func (s *session) relay(ctx context.Context, link *upstream.Link) {
	e := s.engine
	e.mu.Lock()
	if e.open == nil {
		e.open = map[*session]struct{}{}
	}
	e.open[s] = struct{}{}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.open, s)
		e.mu.Unlock()
	}()
	err := relay.Relay(ctx, s.accepted.Conn, link.Conn, relay.Options{IdleTimeout: s.config.IdleTimeout, Counters: &s.counters})
	switch {
	case err == nil:
	case errors.Is(err, relay.ErrIdle):
		s.record.Flags |= telemetry.FlagStreamIdleTimeout
	case errors.Is(err, context.DeadlineExceeded):
		s.record.Flags |= telemetry.FlagDurationTimeout
	case s.accepted.Conn.Gone():
		s.record.Flags |= telemetry.FlagDownstreamConnectionTermination
	default:
		s.record.Termination = err.Error()
	}
}

// end counts and logs the connection.
func (s *session) end() {
	s.record.Duration = time.Since(s.record.Start)
	s.record.BytesReceived, s.record.BytesSent = s.counters.AToB.Load(), s.counters.BToA.Load()
	s.bind(nil)
	s.report()
	if s.bound != nil {
		s.bound.Closed(s.accepted.Shard, s.record.Flags)
	}
	var line []byte
	for _, l := range s.config.AccessLogs {
		sink, ok := l.Runtime.(interface{ Write(line []byte) })
		if !ok || !l.Filter.Log(&s.record, nil, rand.Uint64()) {
			continue
		}
		line = l.Formatter.Append(line[:0], &s.record)
		sink.Write(line)
	}
}

// report counts the bytes since the last report.
func (s *session) report() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound == nil {
		return
	}
	received, sent := s.counters.AToB.Load(), s.counters.BToA.Load()
	s.bound.Transferred(s.accepted.Shard, received-s.reported.received, sent-s.reported.sent)
	s.reported.received, s.reported.sent = received, sent
}

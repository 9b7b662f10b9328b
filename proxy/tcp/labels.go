package tcp

import (
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
)

// bind finds the connection's series and counts it as opened, once: when a
// connection upstream stands, or at the end of one that never had any.
func (s *session) bind(*upstream.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound != nil || s.engine.Standard == nil || !s.reports() {
		return
	}
	s.bound = s.engine.Standard.Bind(s.labels())
	s.bound.Opened(s.accepted.Shard)
}

// reports says that the chain has the statistics filter.
func (s *session) reports() bool {
	for i := range s.accepted.Chain.Filters {
		if _, ok := s.accepted.Chain.Filters[i].Config.(*plan.Stats); ok {
			return true
		}
	}
	return false
}

func (s *session) labels() telemetry.StandardLabels {
	l := telemetry.StandardLabels{Protocol: "tcp"}
	if s.cluster != nil && len(s.cluster.Services) > 0 {
		l.Service = telemetry.Service(s.cluster.Services[0])
	}
	if s.accepted.Listener.Direction == plan.Inbound {
		l.Reporter, l.Destination, l.Security = telemetry.ReporterDestination, s.engine.Self.Labels, "none"
		l.Source = s.told
		if id := s.record.DownstreamPeerURI; id != "" {
			l.Source.Principal, l.Security = id, "mutual_tls"
		}
		return l
	}
	l.Reporter, l.Source = telemetry.ReporterSource, s.engine.Self.Labels
	if s.host != nil {
		w := &s.host.Endpoint().Workload
		l.Destination = telemetry.Peer{Workload: w.Name, Namespace: w.Namespace, App: w.CanonicalName, Version: w.CanonicalRevision,
			CanonicalName: w.CanonicalName, CanonicalRevision: w.CanonicalRevision, Cluster: w.Cluster}
		if s.told != (telemetry.Peer{}) {
			l.Destination = s.told
		}
		l.Destination.Principal = s.host.Principal()
	}
	return l
}

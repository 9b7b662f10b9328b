package telemetry

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Peer is one side of a request as the standard metrics name it. Empty fields
// are reported as "unknown".
type Peer struct {
	Workload          string
	Namespace         string
	Principal         string
	App               string
	Version           string
	CanonicalName     string
	CanonicalRevision string
	Cluster           string
}

// Service is a destination service as the standard metrics name it.
type Service struct {
	Host      string // reviews.default.svc.cluster.local
	Name      string // reviews
	Namespace string
}

// Reporter says which side of a request a metric was taken on.
type Reporter string

// The reporters.
const (
	ReporterSource      Reporter = "source"
	ReporterDestination Reporter = "destination"
)

// StandardLabels are the labels that are known before a request has ended.
// It is comparable: equal labels share their series.
type StandardLabels struct {
	Reporter    Reporter
	Source      Peer
	Destination Peer
	Service     Service
	Protocol    string // http, grpc or tcp
	Security    string // mutual_tls, none or unknown
}

// standardNames are the labels of Istio's standard metrics in the order of its
// own statistics filter.
var standardNames = []string{
	"reporter", "source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version",
	"source_canonical_service", "source_canonical_revision", "source_cluster",
	"destination_workload", "destination_workload_namespace", "destination_principal", "destination_app",
	"destination_version", "destination_service", "destination_service_name", "destination_service_namespace",
	"destination_canonical_service", "destination_canonical_revision", "destination_cluster",
	"request_protocol", "response_flags", "connection_security_policy",
}

// standardBuckets are Istio's default histogram buckets, for milliseconds and
// for bytes alike.
var standardBuckets = []float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
}

func (l *StandardLabels) values(flags ResponseFlags) []string {
	peer := func(dst []string, p *Peer, service *Service) []string {
		dst = append(dst, known(p.Workload), known(p.Namespace), known(p.Principal), known(p.App), known(p.Version))
		if service != nil {
			dst = append(dst, known(service.Host), known(service.Name), known(service.Namespace))
		}
		return append(dst, known(p.CanonicalName), knownOr(p.CanonicalRevision, p.CanonicalName), known(p.Cluster))
	}
	v := make([]string, 0, len(standardNames)+2)
	v = append(v, string(l.Reporter))
	v = peer(v, &l.Source, nil)
	v = peer(v, &l.Destination, &l.Service)
	return append(v, known(l.Protocol), flags.String(), known(l.Security))
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// knownOr reports a canonical revision: "latest" when the canonical name is
// known and the revision isn't, as Istio does.
func knownOr(revision, name string) string {
	if revision == "" && name != "" {
		return "latest"
	}
	return known(revision)
}

// Standard holds Istio's standard metrics.
type Standard struct {
	requests, duration, requestBytes, responseBytes *Family
	requestMessages, responseMessages               *Family
	opened, closed, sent, received                  *Family

	mu    sync.Mutex // guards bound
	bound map[StandardLabels]*Bound
}

// NewStandard registers Istio's standard metrics on r. tag is the version
// reported by istio_build.
func NewStandard(r *Registry, tag string) *Standard {
	http := append(append([]string{}, standardNames...), "response_code", "grpc_response_status")
	counter := func(name, help string, labels []string) *Family {
		return r.NewFamily(Desc{Name: name, Help: help, Kind: KindCounter, Labels: labels})
	}
	histogram := func(name, help string) *Family {
		return r.NewFamily(Desc{Name: name, Help: help, Kind: KindHistogram, Labels: http, Buckets: standardBuckets})
	}
	r.NewFamily(Desc{Name: "istio_build", Help: "Version of the component.", Kind: KindGauge, Labels: []string{"component", "tag"}}).
		With("proxy", tag).Counter.Add(0, 1)
	return &Standard{
		requests:         counter("istio_requests_total", "Requests handled by the proxy.", http),
		duration:         histogram("istio_request_duration_milliseconds", "Duration of requests in milliseconds."),
		requestBytes:     histogram("istio_request_bytes", "Size of request heads and bodies in bytes."),
		responseBytes:    histogram("istio_response_bytes", "Size of response heads and bodies in bytes."),
		requestMessages:  counter("istio_request_messages_total", "gRPC messages sent by clients.", http),
		responseMessages: counter("istio_response_messages_total", "gRPC messages sent by servers.", http),
		opened:           counter("istio_tcp_connections_opened_total", "TCP connections opened.", standardNames),
		closed:           counter("istio_tcp_connections_closed_total", "TCP connections closed.", standardNames),
		sent:             counter("istio_tcp_sent_bytes_total", "Bytes sent in responses of TCP connections.", standardNames),
		received:         counter("istio_tcp_received_bytes_total", "Bytes received in requests of TCP connections.", standardNames),
		bound:            map[StandardLabels]*Bound{},
	}
}

// Bind returns the series of one label set. It locks and hashes: call it when
// a connection, a peer or a destination is first seen, and keep the result.
func (s *Standard) Bind(l StandardLabels) *Bound {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bound[l]
	if b == nil {
		b = &Bound{standard: s, labels: l}
		s.bound[l] = b
	}
	return b
}

// Bound is the standard metrics of one label set. Counting a request is a scan
// of the few outcomes seen so far and a handful of additions.
type Bound struct {
	standard *Standard
	labels   StandardLabels

	mu   sync.Mutex // serialises growth of http and tcp
	http atomic.Pointer[[]*httpSeries]
	tcp  atomic.Pointer[[]*tcpSeries]
}

// outcome is what makes requests of one Bound differ in their labels.
type outcome struct {
	flags ResponseFlags
	code  uint16
	grpc  int16
}

type httpSeries struct {
	outcome
	requests                               *Counter
	duration, requestBytes, responseBytes  *Histogram
	requestMessagesOnce                    sync.Once
	requestMessagesCount, responseMessages *Counter
}

type tcpSeries struct {
	flags                          ResponseFlags
	opened, closed, sent, received *Counter
}

// RequestResult is how a request ended. GRPCStatus is -1 where there is none.
// Bytes include heads.
type RequestResult struct {
	Code             uint16
	GRPCStatus       int16
	Flags            ResponseFlags
	Duration         time.Duration
	RequestBytes     int64
	ResponseBytes    int64
	RequestMessages  int64
	ResponseMessages int64
}

// Request counts one request. It does not allocate once the outcome was seen.
func (b *Bound) Request(shard uint32, r *RequestResult) {
	s := b.httpSeries(outcome{r.Flags, r.Code, r.GRPCStatus})
	s.requests.Inc(shard)
	s.duration.Observe(shard, float64(r.Duration)/float64(time.Millisecond))
	s.requestBytes.Observe(shard, float64(r.RequestBytes))
	s.responseBytes.Observe(shard, float64(r.ResponseBytes))
	if r.RequestMessages|r.ResponseMessages != 0 {
		b.messages(s, shard, r)
	}
}

func (b *Bound) messages(s *httpSeries, shard uint32, r *RequestResult) {
	s.requestMessagesOnce.Do(func() {
		v := b.httpValues(s.outcome)
		s.requestMessagesCount = b.standard.requestMessages.With(v...).Counter
		s.responseMessages = b.standard.responseMessages.With(v...).Counter
	})
	s.requestMessagesCount.Add(shard, r.RequestMessages)
	s.responseMessages.Add(shard, r.ResponseMessages)
}

func (b *Bound) httpSeries(o outcome) *httpSeries {
	if list := b.http.Load(); list != nil {
		for _, s := range *list {
			if s.outcome == o {
				return s
			}
		}
	}
	return b.growHTTP(o)
}

func (b *Bound) growHTTP(o outcome) *httpSeries {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.http.Load()
	if old != nil {
		for _, s := range *old {
			if s.outcome == o {
				return s
			}
		}
	}
	v := b.httpValues(o)
	s := &httpSeries{
		outcome:       o,
		requests:      b.standard.requests.With(v...).Counter,
		duration:      b.standard.duration.With(v...).Histogram,
		requestBytes:  b.standard.requestBytes.With(v...).Histogram,
		responseBytes: b.standard.responseBytes.With(v...).Histogram,
	}
	storeAppended(&b.http, old, s)
	return s
}

func (b *Bound) httpValues(o outcome) []string {
	grpc := ""
	if o.grpc >= 0 {
		grpc = strconv.Itoa(int(o.grpc))
	}
	return append(b.labels.values(o.flags), strconv.Itoa(int(o.code)), grpc)
}

// Opened counts a new TCP connection.
func (b *Bound) Opened(shard uint32) { b.tcpSeries(0).opened.Inc(shard) }

// Transferred counts bytes of a TCP connection that is still open or has just
// ended: received from downstream, sent to downstream.
func (b *Bound) Transferred(shard uint32, received, sent int64) {
	s := b.tcpSeries(0)
	s.received.Add(shard, received)
	s.sent.Add(shard, sent)
}

// Closed counts the end of a TCP connection.
func (b *Bound) Closed(shard uint32, flags ResponseFlags) { b.tcpSeries(flags).closed.Inc(shard) }

func (b *Bound) tcpSeries(f ResponseFlags) *tcpSeries {
	if list := b.tcp.Load(); list != nil {
		for _, s := range *list {
			if s.flags == f {
				return s
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.tcp.Load()
	if old != nil {
		for _, s := range *old {
			if s.flags == f {
				return s
			}
		}
	}
	v := b.labels.values(f)
	s := &tcpSeries{
		flags:    f,
		opened:   b.standard.opened.With(v...).Counter,
		closed:   b.standard.closed.With(v...).Counter,
		sent:     b.standard.sent.With(v...).Counter,
		received: b.standard.received.With(v...).Counter,
	}
	storeAppended(&b.tcp, old, s)
	return s
}

// storeAppended publishes a copy of old with s at its end. The caller holds
// the lock that serialises growth; readers keep the list that they loaded.
func storeAppended[T any](p *atomic.Pointer[[]*T], old *[]*T, s *T) {
	var list []*T
	if old != nil {
		list = append(list, *old...)
	}
	list = append(list, s)
	p.Store(&list)
}

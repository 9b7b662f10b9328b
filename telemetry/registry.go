package telemetry

import (
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry holds metric families and serves them. There is one per process;
// it is made by app and passed to whoever measures.
type Registry struct {
	prom *prometheus.Registry
}

// NewRegistry returns a registry that already reports the Go runtime and the
// process under Prometheus' usual names.
func NewRegistry() *Registry {
	r := &Registry{prom: prometheus.NewRegistry()}
	r.prom.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Handler serves every family in Prometheus' text format.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Kind says how a family is to be read.
type Kind uint8

// The kinds of family.
const (
	KindCounter Kind = iota
	KindGauge
	KindHistogram
)

// Desc describes a family: its name, help text, kind, label names and, for
// histograms, the buckets' upper bounds.
type Desc struct {
	Name    string
	Help    string
	Kind    Kind
	Labels  []string
	Buckets []float64
}

// Series is one label set of a family. Exactly one of Counter and Histogram
// is set, by the family's kind (gauges are counters that may fall).
type Series struct {
	Counter   *Counter
	Histogram *Histogram
	values    []string
}

// Family is a metric with its series. Looking up or making a series takes a
// lock and compares strings: bind series when configuration changes or when a
// connection begins, never per request.
type Family struct {
	desc Desc
	prom *prometheus.Desc

	mu     sync.RWMutex // guards series
	series map[string]*Series
}

// NewFamily registers a family. A second family of the same name is an error
// of the program and panics.
func (r *Registry) NewFamily(d Desc) *Family {
	f := &Family{desc: d, prom: prometheus.NewDesc(d.Name, d.Help, d.Labels, nil), series: map[string]*Series{}}
	r.prom.MustRegister(f)
	return f
}

// NewFunc registers a gauge without labels whose value is read when scraped.
func (r *Registry) NewFunc(name, help string, value func() float64) {
	r.prom.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// With returns the series of the given label values, in the order of the
// family's label names, making it on first use.
func (f *Family) With(values ...string) *Series {
	if len(values) != len(f.desc.Labels) {
		panic(fmt.Sprintf("metric %s has %d labels, %d values given", f.desc.Name, len(f.desc.Labels), len(values)))
	}
	key := seriesKey(values)
	f.mu.RLock()
	s := f.series[key]
	f.mu.RUnlock()
	if s != nil {
		return s
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.series[key]; s != nil {
		return s
	}
	s = f.newSeries(values)
	f.series[key] = s
	return s
}

// Delete forgets the series of the given label values.
func (f *Family) Delete(values ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.series, seriesKey(values))
}

func (f *Family) newSeries(values []string) *Series {
	s := &Series{values: slices.Clone(values)}
	if f.desc.Kind == KindHistogram {
		s.Histogram = NewHistogram(f.desc.Buckets)
	} else {
		s.Counter = NewCounter()
	}
	return s
}

// seriesKey joins the values with a byte that no UTF-8 text contains.
func seriesKey(values []string) string {
	n := 0
	for _, v := range values {
		n += len(v) + 1
	}
	b := make([]byte, 0, n)
	for _, v := range values {
		b = append(append(b, v...), 0xff)
	}
	return string(b)
}

// Describe implements prometheus.Collector.
func (f *Family) Describe(ch chan<- *prometheus.Desc) { ch <- f.prom }

// Collect implements prometheus.Collector.
func (f *Family) Collect(ch chan<- prometheus.Metric) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, s := range f.series {
		ch <- f.metric(s)
	}
}

func (f *Family) metric(s *Series) prometheus.Metric {
	switch f.desc.Kind {
	case KindHistogram:
		v := s.Histogram.Value()
		return prometheus.MustNewConstHistogram(f.prom, v.Count, v.Sum, v.Buckets, s.values...)
	case KindGauge:
		return prometheus.MustNewConstMetric(f.prom, prometheus.GaugeValue, float64(s.Counter.Value()), s.values...)
	default:
		return prometheus.MustNewConstMetric(f.prom, prometheus.CounterValue, float64(s.Counter.Value()), s.values...)
	}
}

var _ prometheus.Collector = (*Family)(nil)

package app

import (
	"time"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// controlMetrics are the control plane's metrics, under istiod's names where
// it has them.
type controlMetrics struct {
	connected, pushes, pushBytes, rejects *telemetry.Family
	// convergence counts each client that a change reaches, distribution each
	// change when it has reached the last of them.
	convergence, distribution *telemetry.Histogram
	certificates              *telemetry.Family
	held, queued              *telemetry.Series
	failures                  *telemetry.Series
}

// convergenceBuckets are istiod's, and finer ones below: seconds.
var convergenceBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3, 5, 10, 20, 30}

func newControlMetrics(r *telemetry.Registry) *controlMetrics {
	counter := func(name, help string, labels ...string) *telemetry.Family {
		return r.NewFamily(telemetry.Desc{Name: name, Help: help, Kind: telemetry.KindCounter, Labels: labels})
	}
	m := &controlMetrics{
		connected: r.NewFamily(telemetry.Desc{Name: "pilot_xds", Help: "Connected discovery clients.", Kind: telemetry.KindGauge,
			Labels: []string{"version"}}),
		pushes:    counter("pilot_xds_pushes", "Discovery responses sent.", "type"),
		pushBytes: counter("pilot_xds_push_bytes_total", "Bytes of discovery responses sent.", "type"),
		rejects:   counter("pilot_total_xds_rejects", "Discovery responses that a client refused.", "type"),
		certificates: counter("citadel_server_csr_count", "Certificate requests, by what became of them.",
			"outcome"),
	}
	m.held = r.NewFamily(telemetry.Desc{Name: "lateen_xds_subscription_bytes", Kind: telemetry.KindGauge,
		Help: "Memory that the subscriptions of all discovery clients take, about; beyond --xds-subscriptions-mib more are refused."}).With()
	m.queued = r.NewFamily(telemetry.Desc{Name: "lateen_xds_queued_bytes", Kind: telemetry.KindGauge,
		Help: "Memory of responses that wait for one discovery client alone, about; beyond --xds-queued-mib more are refused."}).With()
	m.failures = counter("pilot_total_xds_internal_errors", "Translations for a proxy that failed.").With()
	seconds := func(name, help string) *telemetry.Histogram {
		return r.NewFamily(telemetry.Desc{Name: name, Help: help, Kind: telemetry.KindHistogram, Buckets: convergenceBuckets}).With().Histogram
	}
	m.convergence = seconds("pilot_proxy_convergence_time", "Seconds from a change to a client's acknowledgement of it.")
	m.distribution = seconds("lateen_config_distribution_seconds", "Seconds from a change to the last client's acknowledgement of it.")
	return m
}

// Connected implements server.Metrics.
func (m *controlMetrics) Connected(delta int) {
	m.connected.With(version).Counter.Add(0, int64(delta))
}

// Held implements server.Metrics.
func (m *controlMetrics) Held(delta int64) { m.held.Counter.Add(0, delta) }

// Queued implements server.Metrics.
func (m *controlMetrics) Queued(delta int64) { m.queued.Counter.Add(0, delta) }

// Pushed implements server.Metrics.
func (m *controlMetrics) Pushed(typeURL string, bytes int) {
	name := xds.ShortType(typeURL)
	m.pushes.With(name).Counter.Inc(0)
	m.pushBytes.With(name).Counter.Add(0, int64(bytes))
}

// Refused implements server.Metrics.
func (m *controlMetrics) Refused(typeURL string, _ *server.Client) {
	m.rejects.With(xds.ShortType(typeURL)).Counter.Inc(0)
}

// Converged implements server.Metrics.
func (m *controlMetrics) Converged(d time.Duration) { m.convergence.Observe(0, d.Seconds()) }

// Distributed implements server.Metrics.
func (m *controlMetrics) Distributed(d time.Duration) { m.distribution.Observe(0, d.Seconds()) }

// counted is for the certificate service.
func (m *controlMetrics) counted(o ca.Outcome) { m.certificates.With(string(o)).Counter.Inc(0) }

var _ server.Metrics = (*controlMetrics)(nil)

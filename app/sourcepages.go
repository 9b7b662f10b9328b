package app

import (
	"context"
	"net/http"
	"time"

	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/workload"
	"lateen.dev/lateen/telemetry"
)

// conditions say how every source does, in the order of precedence.
func (c *control) conditions() []source.Condition {
	objects, revision := c.store.Count()
	local := source.Condition{Source: c.store.Name(), State: source.Ready, Objects: objects, Revision: revision}
	if reason := unreadable(c.store.Problems()); reason != "" {
		local.State, local.Reason = source.Failing, reason
	}
	_, registered := c.workloads.All()
	joined := source.Condition{Source: workload.Name, State: source.Ready, Objects: len(c.workloads.Objects()), Revision: registered}
	return append([]source.Condition{local, joined}, c.sources.conditions()...)
}

// unreadable is why a source of files can't read, "" if it can.
func unreadable(ps config.Problems) string {
	for _, p := range ps {
		if p.Severity == config.Error && p.Code == config.CodeUnreadable.ID {
			return p.Message
		}
	}
	return ""
}

func (c *control) sourcesPage(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, cli.SourcesResponse{Sources: c.conditions()})
}

// sourceMetrics are how the sources do, by name.
type sourceMetrics struct {
	up, objects, failures, heard *telemetry.Family
	// shown is what the series say now.
	shown map[string][4]int64
}

func newSourceMetrics(r *telemetry.Registry) *sourceMetrics {
	family := func(name, help string, kind telemetry.Kind) *telemetry.Family {
		return r.NewFamily(telemetry.Desc{Name: name, Help: help, Kind: kind, Labels: []string{"source"}})
	}
	return &sourceMetrics{
		up:       family("lateen_source_up", "1 if the source has all and hears of changes, 0 while it waits or fails.", telemetry.KindGauge),
		objects:  family("lateen_source_objects", "Objects of the source that are live.", telemetry.KindGauge),
		failures: family("lateen_source_failures_total", "Attempts of the source that failed.", telemetry.KindCounter),
		heard:    family("lateen_source_heard_timestamp_seconds", "When something last came from the source, in Unix time.", telemetry.KindGauge),
		shown:    map[string][4]int64{},
	}
}

// show brings the series up to date. It belongs to one goroutine.
func (m *sourceMetrics) show(conditions []source.Condition) {
	there := map[string]bool{}
	families := [4]*telemetry.Family{m.up, m.objects, m.failures, m.heard}
	for _, c := range conditions {
		there[c.Source] = true
		now := [4]int64{0, int64(c.Objects), int64(c.Failures), 0}
		if c.State == source.Ready {
			now[0] = 1
		}
		if !c.Heard.IsZero() {
			now[3] = c.Heard.Unix()
		}
		for i, family := range families {
			family.With(c.Source).Counter.Add(0, now[i]-m.shown[c.Source][i])
		}
		m.shown[c.Source] = now
	}
	for name := range m.shown {
		if !there[name] {
			delete(m.shown, name)
			for _, family := range families {
				family.Delete(name)
			}
		}
	}
}

// measureSources shows them until ctx ends.
func (c *control) measureSources(ctx context.Context) error {
	m := newSourceMetrics(c.metrics)
	tick := time.NewTicker(sourceInterval)
	defer tick.Stop()
	for {
		m.show(c.conditions())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// sourceInterval is how soon the metrics show what became of a source.
const sourceInterval = time.Second

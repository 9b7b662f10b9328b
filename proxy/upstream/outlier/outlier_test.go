package outlier

import (
	"testing"
	"time"
)

func detector(cfg Config, n int) (*Detector, []*Host) {
	hosts := make([]*Host, n)
	for i := range hosts {
		hosts[i] = &Host{ID: string(rune('a' + i))}
	}
	d := New(cfg)
	d.SetHosts(hosts)
	return d, hosts
}

func never() uint32 { return 0 }

func TestConsecutiveFailures(t *testing.T) {
	now := time.Unix(1000, 0)
	cfg := Default()
	cfg.MaxEjectionPercent = 100
	for _, tc := range []struct {
		name  string
		cfg   func(c *Config)
		fails []Result
		cause Cause
		out   bool
	}{
		{"five 5xx", nil, []Result{{Code: 500}, {Code: 500}, {Code: 501}, {Code: 500}, {Code: 500}}, Consecutive5xx, true},
		{"four 5xx", nil, []Result{{Code: 500}, {Code: 500}, {Code: 501}, {Code: 500}}, 0, false},
		{"gateway errors, enforced", func(c *Config) { c.ConsecutiveGateway, c.EnforcingGateway = 2, 100 }, []Result{{Code: 503}, {Code: 504}}, ConsecutiveGateway, true},
		{"a 500 breaks the run of gateway errors", func(c *Config) { c.ConsecutiveGateway, c.EnforcingGateway = 2, 100 }, []Result{{Code: 503}, {Code: 500}, {Code: 503}}, 0, false},
		{"local errors count as 5xx", nil, []Result{{Local: true}, {Local: true}, {Local: true}, {Local: true}, {Local: true}}, Consecutive5xx, true},
		{"local errors apart", func(c *Config) { c.SplitLocalOrigin, c.ConsecutiveLocal = true, 2 }, []Result{{Local: true}, {Local: true}}, ConsecutiveLocal, true},
		{"switched off", func(c *Config) { c.Consecutive5xx = 0 }, []Result{{Code: 500}, {Code: 500}, {Code: 500}, {Code: 500}, {Code: 500}, {Code: 500}}, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := cfg
			if tc.cfg != nil {
				tc.cfg(&c)
			}
			d, hosts := detector(c, 3)
			var a Action
			ok := false
			for _, r := range tc.fails {
				a, ok = d.Failed(now, hosts[0], r, 0)
			}
			if ok != tc.out || ok && (a.Cause != tc.cause || !a.Eject || a.Host != hosts[0]) {
				t.Errorf("got %v %+v, want ejection %v by %v", ok, a, tc.out, tc.cause)
			}
		})
	}
}

func TestSuccessEndsARun(t *testing.T) {
	d, hosts := detector(Default(), 3)
	for range 4 {
		d.Failed(time.Unix(0, 0), hosts[0], Result{Code: 500}, 0)
	}
	d.Succeeded(hosts[0])
	if _, ok := d.Failed(time.Unix(0, 0), hosts[0], Result{Code: 500}, 0); ok {
		t.Error("ejected though a success came between")
	}
}

func TestEjectionLimitAndTimes(t *testing.T) {
	now := time.Unix(1000, 0)
	cfg := Default()
	cfg.Consecutive5xx, cfg.MaxEjectionPercent = 1, 50
	d, hosts := detector(cfg, 4)
	fail := func(i int) bool { _, ok := d.Failed(now, hosts[i], Result{Code: 500}, 0); return ok }
	if !fail(0) || !fail(1) || fail(2) {
		t.Fatal("half of the hosts may be ejected, no more")
	}
	if hosts[0].Until != now.Add(30*time.Second) {
		t.Errorf("first ejection until %v", hosts[0].Until)
	}
	now = now.Add(30 * time.Second)
	if back := d.Tick(now, nil, never); len(back) != 2 || back[0].Eject {
		t.Fatalf("after its time a host comes back: %+v", back)
	}
	fail(0)
	if hosts[0].Until != now.Add(60*time.Second) {
		t.Errorf("the second ejection lasts twice as long, got until %v", hosts[0].Until.Sub(now))
	}
	now = now.Add(60 * time.Second)
	d.Tick(now, nil, never)
	for range 2 {
		now = now.Add(cfg.Interval)
		d.Tick(now, nil, never)
	}
	if hosts[0].Ejections() != 0 {
		t.Errorf("good behaviour is forgiven, still %d", hosts[0].Ejections())
	}
}

func TestRates(t *testing.T) {
	cfg := Default()
	cfg.MaxEjectionPercent = 100
	volumes := func(hosts []*Host, failures uint64) []Volume {
		var v []Volume
		for i, h := range hosts {
			f := uint64(0)
			if i == 0 {
				f = failures
			}
			v = append(v, Volume{Host: h, Requests: 100, Failures: f})
		}
		return v
	}
	d, hosts := detector(cfg, 6)
	if got := d.Tick(time.Unix(1, 0), volumes(hosts, 60), never); len(got) != 1 || got[0].Cause != SuccessRate {
		t.Errorf("success rate: %+v", got)
	}
	cfg.EnforcingFailure, cfg.EnforcingSuccessRate = 100, 0
	d, hosts = detector(cfg, 6)
	if got := d.Tick(time.Unix(1, 0), volumes(hosts, 86), never); len(got) != 1 || got[0].Cause != FailurePercentage {
		t.Errorf("failure percentage: %+v", got)
	}
	d, hosts = detector(cfg, 4)
	if got := d.Tick(time.Unix(1, 0), volumes(hosts, 100), never); len(got) != 0 {
		t.Errorf("too few hosts to judge: %+v", got)
	}
}

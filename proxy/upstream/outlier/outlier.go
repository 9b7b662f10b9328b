// Package outlier decides which hosts of a cluster are ejected from load balancing for misbehaving, as Envoy's
// outlier detection does. It is a pure state machine: events and the time go in, ejections come out.
//
// upstream owns one Detector per cluster that has outlier detection configured, and serialises its calls; successes
// are kept away from it by a counter per host, so that only failures pay.
//
// May import: nothing of ours.
package outlier

import (
	"slices"
	"time"
)

// Cause is why a host failed, or was ejected.
type Cause uint8

// The causes.
const (
	Consecutive5xx     Cause = iota // any server error, local-origin ones included unless split
	ConsecutiveGateway              // 502, 503, 504
	ConsecutiveLocal                // connect failure, reset, timeout; only with SplitLocalOrigin
	SuccessRate
	FailurePercentage
)

// String is the name in statistics.
func (c Cause) String() string {
	return [...]string{"consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure", "success_rate", "failure_percentage"}[c]
}

// Config is an outlier detection setting with every default filled in. A zero count switches that check off.
// Enforcing percentages say how often a detection leads to an ejection.
type Config struct {
	Consecutive5xx       uint32
	ConsecutiveGateway   uint32
	ConsecutiveLocal     uint32
	SplitLocalOrigin     bool
	Interval             time.Duration
	BaseEjection         time.Duration
	MaxEjection          time.Duration
	MaxEjectionPercent   uint32
	MinHealthPercent     uint32 // detection pauses below this share of healthy hosts; 0 never pauses
	Enforcing5xx         uint32
	EnforcingGateway     uint32
	EnforcingLocal       uint32
	FailureThreshold     uint32 // failure percentage that ejects
	FailureMinHosts      uint32
	FailureMinVolume     uint32
	EnforcingFailure     uint32
	SuccessRateMinHosts  uint32
	SuccessRateMinVolume uint32
	SuccessRateStdev     float64 // deviations below the mean that eject, e.g. 1.9
	EnforcingSuccessRate uint32
}

// Default is Envoy's configuration when outlier_detection is present but empty.
func Default() Config {
	return Config{
		Consecutive5xx: 5, ConsecutiveGateway: 5, ConsecutiveLocal: 5,
		Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjection: 300 * time.Second,
		MaxEjectionPercent: 10, Enforcing5xx: 100, EnforcingLocal: 100,
		FailureThreshold: 85, FailureMinHosts: 5, FailureMinVolume: 50,
		SuccessRateMinHosts: 5, SuccessRateMinVolume: 100, SuccessRateStdev: 1.9, EnforcingSuccessRate: 100,
	}
}

// Host is a host's state. The detector's owner makes one per host and keeps it while the host is in the cluster.
type Host struct {
	ID       string // for tests and reports
	Ejected  bool
	Until    time.Time // end of the current ejection
	times    int       // ejections in a row, multiplying the base time
	run5xx   uint32
	gateway  uint32
	local    uint32
	lastDown time.Time
}

// Ejections is how many ejections in a row the next one builds on.
func (h *Host) Ejections() int { return h.times }

// Result is one finished exchange or attempt to connect, as a failure. Successes come by Succeeded.
type Result struct {
	Code  int  // the response code; 0 for local origin failures
	Local bool // connect failure, timeout or reset: the host sent no answer
}

// Volume is what a host did in the interval that has ended.
type Volume struct {
	Host     *Host
	Requests uint64
	Failures uint64
}

// Action is what the owner has to do: mark the host ejected, or usable again.
type Action struct {
	Host  *Host
	Eject bool
	Cause Cause
}

// Detector is the state of one cluster.
type Detector struct {
	cfg   Config
	hosts []*Host
}

// New returns a detector for no hosts yet.
func New(cfg Config) *Detector { return &Detector{cfg: cfg} }

// SetConfig replaces the settings; ejections in force stay.
func (d *Detector) SetConfig(cfg Config) { d.cfg = cfg }

// SetHosts replaces the membership.
func (d *Detector) SetHosts(hosts []*Host) { d.hosts = hosts }

// Succeeded ends a host's runs of failures.
func (d *Detector) Succeeded(h *Host) { h.run5xx, h.gateway, h.local = 0, 0, 0 }

// Failed counts a failure and returns the ejection it leads to, if any. random is a fresh number below 100, drawn
// against the enforcing percentage. healthyPercent is the share of healthy hosts.
func (d *Detector) Failed(now time.Time, h *Host, r Result, random uint32) (Action, bool) {
	if r.Local && d.cfg.SplitLocalOrigin {
		h.local++
		return d.check(now, h, &h.local, limit{ConsecutiveLocal, d.cfg.ConsecutiveLocal, d.cfg.EnforcingLocal}, random)
	}
	// Without the split, a local-origin failure counts as a 503 would.
	gateway := r.Local || r.Code == 502 || r.Code == 503 || r.Code == 504
	if gateway {
		h.gateway++
	} else {
		h.gateway = 0
	}
	h.run5xx++
	if gateway {
		if a, ok := d.check(now, h, &h.gateway, limit{ConsecutiveGateway, d.cfg.ConsecutiveGateway, d.cfg.EnforcingGateway}, random); ok {
			return a, ok
		}
	}
	return d.check(now, h, &h.run5xx, limit{Consecutive5xx, d.cfg.Consecutive5xx, d.cfg.Enforcing5xx}, random)
}

type limit struct {
	cause     Cause
	count     uint32
	enforcing uint32
}

func (d *Detector) check(now time.Time, h *Host, run *uint32, l limit, random uint32) (Action, bool) {
	if l.count == 0 || *run < l.count {
		return Action{}, false
	}
	*run = 0
	if random >= l.enforcing {
		return Action{}, false
	}
	return d.eject(now, h, l.cause)
}

// eject ejects unless the host is out already or too many are. One host may always be ejected, as in Envoy, unless
// the limit is zero.
func (d *Detector) eject(now time.Time, h *Host, cause Cause) (Action, bool) {
	if h.Ejected || !slices.Contains(d.hosts, h) {
		return Action{}, false
	}
	ejected := 0
	for _, o := range d.hosts {
		if o.Ejected {
			ejected++
		}
	}
	if d.cfg.MaxEjectionPercent == 0 || d.tooFewLeft(ejected) {
		return Action{}, false
	}
	if ejected > 0 && uint32((ejected+1)*100) > d.cfg.MaxEjectionPercent*uint32(len(d.hosts)) {
		return Action{}, false
	}
	h.times++
	h.Ejected, h.Until = true, now.Add(d.ejectionTime(h))
	return Action{Host: h, Eject: true, Cause: cause}, true
}

func (d *Detector) tooFewLeft(ejected int) bool {
	healthy := uint32((len(d.hosts) - ejected) * 100)
	return d.cfg.MinHealthPercent > 0 && healthy < d.cfg.MinHealthPercent*uint32(len(d.hosts))
}

func (d *Detector) ejectionTime(h *Host) time.Duration {
	longest := max(d.cfg.MaxEjection, d.cfg.BaseEjection)
	if int64(h.times) > int64(longest/max(1, d.cfg.BaseEjection)) {
		return longest
	}
	return min(longest, time.Duration(h.times)*d.cfg.BaseEjection)
}

// Tick ends an interval: it returns hosts whose time is over, forgives those that stayed in, and ejects by the
// volumes of the interval. random is called for each detection.
func (d *Detector) Tick(now time.Time, volumes []Volume, random func() uint32) []Action {
	var out []Action
	for _, h := range d.hosts {
		switch {
		case h.Ejected && !now.Before(h.Until):
			h.Ejected, h.lastDown = false, now
			d.Succeeded(h)
			out = append(out, Action{Host: h})
		case !h.Ejected && h.times > 0 && now.Sub(h.lastDown) >= d.cfg.Interval:
			h.times--
			h.lastDown = now
		}
	}
	out = append(out, d.byFailurePercentage(now, volumes, random)...)
	return append(out, d.bySuccessRate(now, volumes, random)...)
}

package model

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
)

// DestinationRule is Istio's DestinationRule after rules for the same host were merged.
type DestinationRule struct {
	// Config is the oldest of the merged objects, From are all of them, oldest first.
	Config       config.Key
	From         []config.Key
	Origin       config.Origin
	CreationTime time.Time
	Namespace    string
	// Host is fully qualified, possibly a wildcard.
	Host     string
	ExportTo Visibility
	// WorkloadSelector restricts the rule to clients with these labels. Nil means all.
	WorkloadSelector map[string]string
	Spec             *networking.DestinationRule
}

// Subset returns the subset of that name, or nil. A nil rule has none.
func (d *DestinationRule) Subset(name string) *networking.Subset {
	if d == nil {
		return nil
	}
	for _, s := range d.Spec.GetSubsets() {
		if s.GetName() == name {
			return s
		}
	}
	return nil
}

// Policy returns the traffic policy for a subset ("" for none) and port: the port's settings over the subset's over the
// rule's. It is nil if nothing is said. Do not modify it.
func (d *DestinationRule) Policy(subset string, port uint32) *networking.TrafficPolicy {
	if d == nil {
		return nil
	}
	out := ForPort(d.Spec.GetTrafficPolicy(), port)
	if s := d.Subset(subset); subset != "" && s.GetTrafficPolicy() != nil {
		out = Overlay(out, ForPort(s.GetTrafficPolicy(), port))
	}
	return out
}

// ForPort returns what a traffic policy says about one port. Settings of a port replace those of the destination: what the
// port leaves out is not inherited, except that the tunnel and PROXY protocol settings exist only for the destination.
func ForPort(p *networking.TrafficPolicy, port uint32) *networking.TrafficPolicy {
	if p == nil || len(p.GetPortLevelSettings()) == 0 {
		return p
	}
	out := &networking.TrafficPolicy{
		LoadBalancer: p.LoadBalancer, ConnectionPool: p.ConnectionPool, OutlierDetection: p.OutlierDetection, Tls: p.Tls,
		Tunnel: p.Tunnel, ProxyProtocol: p.ProxyProtocol, RetryBudget: p.RetryBudget,
	}
	for _, s := range p.GetPortLevelSettings() {
		if s.GetPort().GetNumber() == port {
			out.LoadBalancer, out.ConnectionPool = s.LoadBalancer, s.ConnectionPool
			out.OutlierDetection, out.Tls = s.OutlierDetection, s.Tls
			break
		}
	}
	return out
}

// Overlay returns low with every setting that high makes replaced.
func Overlay(low, high *networking.TrafficPolicy) *networking.TrafficPolicy {
	if low == nil {
		return high
	}
	if high == nil {
		return low
	}
	return &networking.TrafficPolicy{
		LoadBalancer:     choose(high.LoadBalancer, low.LoadBalancer),
		ConnectionPool:   choose(high.ConnectionPool, low.ConnectionPool),
		OutlierDetection: choose(high.OutlierDetection, low.OutlierDetection),
		Tls:              choose(high.Tls, low.Tls),
		Tunnel:           choose(high.Tunnel, low.Tunnel),
		ProxyProtocol:    choose(high.ProxyProtocol, low.ProxyProtocol),
		RetryBudget:      choose(high.RetryBudget, low.RetryBudget),
	}
}

func choose[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// Equal reports whether both say the same.
func (d *DestinationRule) Equal(o *DestinationRule) bool {
	if d == o {
		return true
	}
	if d == nil || o == nil {
		return false
	}
	return d.Config == o.Config && slices.Equal(d.From, o.From) && samePlace(d.Origin, o.Origin) &&
		d.CreationTime.Equal(o.CreationTime) && d.Namespace == o.Namespace && d.Host == o.Host &&
		d.ExportTo.Equal(o.ExportTo) && (d.WorkloadSelector == nil) == (o.WorkloadSelector == nil) &&
		maps.Equal(d.WorkloadSelector, o.WorkloadSelector) && equalMessages(d.Spec, o.Spec)
}

// CompareAge orders rules by age, name and namespace.
func (d *DestinationRule) CompareAge(o *DestinationRule) int {
	return CompareAge(d.CreationTime, d.Config, o.CreationTime, o.Config)
}

// Bool reads an optional bool.
func Bool(v *wrapperspb.BoolValue, byDefault bool) bool {
	if v == nil {
		return byDefault
	}
	return v.GetValue()
}

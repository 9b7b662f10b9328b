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

// Policy returns the traffic policy for a subset ("" for none) and port: the subset's settings over the rule's. It is nil if
// nothing is said. Do not modify it.
func (d *DestinationRule) Policy(subset string, port uint32) *networking.TrafficPolicy {
	if d == nil {
		return nil
	}
	out := Overlay(nil, d.Spec.GetTrafficPolicy(), port)
	if s := d.Subset(subset); subset != "" && s != nil {
		out = Overlay(out, s.GetTrafficPolicy(), port)
	}
	return out
}

// Overlay returns low with every setting that high makes for the port replaced; low has no port settings. Where high has
// settings of the port's own, they replace all that can be set for a port: what they leave out is not inherited.
func Overlay(low, high *networking.TrafficPolicy, port uint32) *networking.TrafficPolicy {
	if high == nil || low == nil && len(high.GetPortLevelSettings()) == 0 {
		return choose(high, low)
	}
	if low == nil {
		low = &networking.TrafficPolicy{}
	}
	out := &networking.TrafficPolicy{
		LoadBalancer:     choose(high.LoadBalancer, low.LoadBalancer),
		ConnectionPool:   choose(high.ConnectionPool, low.ConnectionPool),
		OutlierDetection: choose(high.OutlierDetection, low.OutlierDetection),
		Tls:              choose(high.Tls, low.Tls),
		Tunnel:           choose(high.Tunnel, low.Tunnel),
		ProxyProtocol:    choose(high.ProxyProtocol, low.ProxyProtocol),
		RetryBudget:      choose(high.RetryBudget, low.RetryBudget),
	}
	for _, s := range high.GetPortLevelSettings() {
		if s.GetPort().GetNumber() == port {
			out.LoadBalancer, out.ConnectionPool = s.LoadBalancer, s.ConnectionPool
			out.OutlierDetection, out.Tls = s.OutlierDetection, s.Tls
			break
		}
	}
	return out
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

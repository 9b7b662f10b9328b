package compile

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream/lb"
)

// Bounds of the tables that consistent hashing builds for every cluster and change.
const (
	maxRing   = 8 << 20
	maxMaglev = 5_000_011
)

func balancing(out *plan.Cluster, m *clusterv3.Cluster) error {
	out.LB = lb.Config{ChoiceCount: 2, PanicPercent: 50, Overprovisioning: 1.4, MinRingSize: 1024, MaxRingSize: maxRing, TableSize: 65537}
	var err error
	if p := m.GetLoadBalancingPolicy(); p != nil {
		err = at(typedPolicy(out, p), "load_balancing_policy")
	} else {
		err = policy(out, m)
	}
	if err != nil {
		return err
	}
	return at(commonLB(out, m.GetCommonLbConfig()), "common_lb_config")
}

func policy(out *plan.Cluster, m *clusterv3.Cluster) error {
	if (m.GetLbPolicy() == clusterv3.Cluster_CLUSTER_PROVIDED) != (out.Discovery == plan.OriginalDestination) &&
		m.GetLbPolicy() == clusterv3.Cluster_CLUSTER_PROVIDED {
		return errors.New("lb_policy: CLUSTER_PROVIDED belongs to type ORIGINAL_DST")
	}
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		return slowStart(out, m.GetRoundRobinLbConfig().GetSlowStartConfig())
	case clusterv3.Cluster_LEAST_REQUEST:
		out.LB.Kind = lb.LeastRequest
		out.LB.ChoiceCount = choices(u32(m.GetLeastRequestLbConfig().GetChoiceCount(), 2))
		return slowStart(out, m.GetLeastRequestLbConfig().GetSlowStartConfig())
	case clusterv3.Cluster_RANDOM:
		out.LB.Kind = lb.Random
	case clusterv3.Cluster_RING_HASH:
		cfg := m.GetRingHashLbConfig()
		out.LB.Kind = lb.RingHash
		if cfg.GetHashFunction() != clusterv3.Cluster_RingHashLbConfig_XX_HASH {
			return errors.New("ring_hash_lb_config: only XX_HASH is supported by this proxy")
		}
		return ring(out, min64(cfg.GetMinimumRingSize().GetValue(), 1024, cfg.GetMinimumRingSize() != nil), min64(cfg.GetMaximumRingSize().GetValue(), maxRing, cfg.GetMaximumRingSize() != nil))
	case clusterv3.Cluster_MAGLEV:
		out.LB.Kind = lb.Maglev
		if t := m.GetMaglevLbConfig().GetTableSize(); t != nil {
			return maglev(out, t.GetValue())
		}
	case clusterv3.Cluster_CLUSTER_PROVIDED:
	default:
		return fmt.Errorf("lb_policy %v is not supported by this proxy", m.GetLbPolicy())
	}
	return nil
}

func min64(v, def uint64, given bool) uint64 {
	if given {
		return v
	}
	return def
}

func choices(n uint32) int { return int(min(max(n, 2), 1<<10)) }

func ring(out *plan.Cluster, least, most uint64) error {
	if least > most || most > maxRing || most == 0 {
		return fmt.Errorf("ring hash: the ring's size must be within 1 and %d, the minimum at most the maximum", maxRing)
	}
	out.LB.MinRingSize, out.LB.MaxRingSize = max(least, 1), most
	return nil
}

func maglev(out *plan.Cluster, size uint64) error {
	if size > maxMaglev || !new(big.Int).SetUint64(size).ProbablyPrime(20) {
		return fmt.Errorf("maglev: table_size %d is not a prime up to %d", size, maxMaglev)
	}
	out.LB.TableSize = size
	return nil
}

// slowStartConfig is one of a cluster's own, or of a typed policy's.
type slowStartConfig interface {
	GetSlowStartWindow() *durationpb.Duration
	GetAggression() *corev3.RuntimeDouble
	GetMinWeightPercent() *typev3.Percent
}

func slowStart(out *plan.Cluster, s slowStartConfig) error {
	w, err := duration(s.GetSlowStartWindow(), 0)
	if err != nil || w == 0 {
		return at(err, "slow_start_config")
	}
	out.SlowStart = &plan.SlowStart{Window: max(w, time.Millisecond), Aggression: 1, MinWeightPercent: 10}
	if a := s.GetAggression().GetDefaultValue(); a > 0 && !math.IsInf(a, 0) {
		out.SlowStart.Aggression = a
	}
	if p := s.GetMinWeightPercent(); p != nil {
		out.SlowStart.MinWeightPercent = p.GetValue()
	}
	return nil
}

// typedPolicy takes the first policy of the list that this proxy knows, as Envoy does.
func typedPolicy(out *plan.Cluster, p *clusterv3.LoadBalancingPolicy) error {
	var names []string
	for _, t := range p.GetPolicies() {
		e, err := extensionOf(t.GetTypedExtensionConfig().GetTypedConfig())
		if err != nil {
			return err
		}
		known, err := onePolicy(out, &e)
		if known || err != nil {
			return err
		}
		names = append(names, e.kind)
	}
	return fmt.Errorf("none of %v is known to this proxy", names)
}

func onePolicy(out *plan.Cluster, e *extension) (bool, error) {
	switch e.kind {
	case "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":
		var m roundv3.RoundRobin
		if err := e.into(&m); err != nil {
			return true, err
		}
		return true, slowStart(out, m.GetSlowStartConfig())
	case "envoy.extensions.load_balancing_policies.random.v3.Random":
		out.LB.Kind = lb.Random
		return true, e.into(&randomv3.Random{})
	case "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest":
		var m leastv3.LeastRequest
		if err := e.into(&m); err != nil {
			return true, err
		}
		out.LB.Kind, out.LB.ChoiceCount = lb.LeastRequest, choices(u32(m.GetChoiceCount(), 2))
		return true, slowStart(out, m.GetSlowStartConfig())
	case "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash":
		var m ringv3.RingHash
		if err := e.into(&m); err != nil {
			return true, err
		}
		out.LB.Kind = lb.RingHash
		out.ConsistentHash.UseHostname = m.GetConsistentHashingLbConfig().GetUseHostnameForHashing()
		return true, ring(out, min64(m.GetMinimumRingSize().GetValue(), 1024, m.GetMinimumRingSize() != nil), min64(m.GetMaximumRingSize().GetValue(), maxRing, m.GetMaximumRingSize() != nil))
	case "envoy.extensions.load_balancing_policies.maglev.v3.Maglev":
		var m maglevv3.Maglev
		if err := e.into(&m); err != nil {
			return true, err
		}
		out.LB.Kind = lb.Maglev
		out.ConsistentHash.UseHostname = m.GetConsistentHashingLbConfig().GetUseHostnameForHashing()
		if t := m.GetTableSize(); t != nil {
			return true, maglev(out, t.GetValue())
		}
		return true, nil
	}
	return false, nil
}

var commonLBFields = fields(`healthy_panic_threshold zone_aware_lb_config locality_weighted_lb_config update_merge_window
	ignore_new_hosts_until_first_hc close_connections_on_host_set_change consistent_hashing_lb_config`)

func commonLB(out *plan.Cluster, m *clusterv3.Cluster_CommonLbConfig) error {
	if err := commonLBFields.only(m); err != nil {
		return err
	}
	if p := m.GetHealthyPanicThreshold(); p != nil {
		out.LB.PanicPercent = p.GetValue()
	}
	out.LB.LocalityWeighted = m.GetLocalityWeightedLbConfig() != nil
	out.LB.FailOnPanic = m.GetZoneAwareLbConfig().GetFailTrafficOnPanic()
	if ch := m.GetConsistentHashingLbConfig(); ch != nil {
		if ch.GetHashBalanceFactor().GetValue() > 0 {
			return errors.New("consistent_hashing_lb_config: hash_balance_factor is not supported by this proxy")
		}
		out.ConsistentHash.UseHostname = ch.GetUseHostnameForHashing()
	}
	return nil
}

package cluster

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/pb"
)

// unlimited thresholds are Istio's default: a limit that nobody asked for shows up as errors that nobody expects. They
// are set even so, for Envoy's own defaults are 1024 requests and 3 retries.
func unlimited() *clusterv3.CircuitBreakers_Thresholds {
	return &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections:     pb.UInt32(math.MaxUint32),
		MaxPendingRequests: pb.UInt32(math.MaxUint32),
		MaxRequests:        pb.UInt32(math.MaxUint32),
		MaxRetries:         pb.UInt32(math.MaxUint32),
		TrackRemaining:     true,
	}
}

// pool applies connection pool settings: circuit breakers, time limits and keepalive. A zero means "not set" in this API.
func (b *builder) pool(in *networking.ConnectionPoolSettings) {
	limits := unlimited()
	set := func(field **wrapperspb.UInt32Value, v int32) {
		if v > 0 {
			*field = pb.UInt32(uint32(v))
		}
	}
	set(&limits.MaxConnections, in.GetTcp().GetMaxConnections())
	set(&limits.MaxPendingRequests, in.GetHttp().GetHttp1MaxPendingRequests())
	set(&limits.MaxRequests, in.GetHttp().GetHttp2MaxRequests())
	set(&limits.MaxRetries, in.GetHttp().GetMaxRetries())
	if budget := b.policy.GetRetryBudget(); budget != nil {
		limits.RetryBudget = retryBudget(budget)
	}
	b.out.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{limits}}
	b.out.ConnectTimeout = b.in.Mesh.Config.GetConnectTimeout()
	if t := in.GetTcp().GetConnectTimeout(); t != nil {
		b.out.ConnectTimeout = t
	}
	b.out.UpstreamConnectionOptions = keepalive(b.in.Mesh, in.GetTcp())
	b.httpPool(in)
	if in.GetHttp().GetUseClientProtocol() {
		b.useClientProtocol()
	}
}

func (b *builder) httpPool(in *networking.ConnectionPoolSettings) {
	idle := in.GetHttp().GetIdleTimeout()
	if idle == nil {
		idle = in.GetTcp().GetIdleTimeout()
	}
	perConnection, duration := in.GetHttp().GetMaxRequestsPerConnection(), in.GetTcp().GetMaxConnectionDuration()
	if idle != nil || perConnection > 0 || duration != nil {
		common := &corev3.HttpProtocolOptions{IdleTimeout: idle, MaxConnectionDuration: duration}
		if perConnection > 0 {
			common.MaxRequestsPerConnection = pb.UInt32(uint32(perConnection))
		}
		b.options().CommonHttpProtocolOptions = common
	}
	b.http2Pool(in)
}

func (b *builder) http2Pool(in *networking.ConnectionPoolSettings) {
	h2 := b.http.GetExplicitHttpConfig().GetHttp2ProtocolOptions()
	if h2 == nil {
		return
	}
	if n := in.GetHttp().GetMaxConcurrentStreams(); n > 0 {
		h2.MaxConcurrentStreams = pb.UInt32(uint32(n))
	}
	if k := in.GetHttp().GetHttp2KeepAlive(); k != nil {
		h2.ConnectionKeepalive = &corev3.KeepaliveSettings{Interval: k.GetInterval(), Timeout: k.GetTimeout()}
	}
}

// h2Upgrade makes the cluster HTTP/2 where that was asked for; the mesh-wide wish holds only for ports that are known to
// speak HTTP.
func (b *builder) h2Upgrade(in *networking.ConnectionPoolSettings) {
	upgrade := b.in.Mesh.Config.GetH2UpgradePolicy() == meshconfig.MeshConfig_UPGRADE && b.in.Port.Protocol.IsHTTP()
	switch in.GetHttp().GetH2UpgradePolicy() {
	case networking.ConnectionPoolSettings_HTTPSettings_UPGRADE:
		upgrade = true
	case networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE:
		upgrade = false
	}
	if upgrade && !b.isHTTP2() {
		b.useHTTP2()
		b.http2Pool(in)
	}
}

func retryBudget(in *networking.TrafficPolicy_RetryBudget) *clusterv3.CircuitBreakers_Thresholds_RetryBudget {
	out := &clusterv3.CircuitBreakers_Thresholds_RetryBudget{}
	if in.GetPercent() != nil {
		out.BudgetPercent = &typev3.Percent{Value: in.GetPercent().GetValue()}
	}
	if in.GetMinRetryConcurrency() > 0 {
		out.MinRetryConcurrency = pb.UInt32(in.GetMinRetryConcurrency())
	}
	return out
}

// keepalive takes the mesh's settings, field by field replaced by the rule's. Nil leaves keepalive off.
func keepalive(mesh *model.Mesh, in *networking.ConnectionPoolSettings_TCPSettings) *clusterv3.UpstreamConnectionOptions {
	all, own := mesh.Config.GetTcpKeepalive(), in.GetTcpKeepalive()
	if all == nil && own == nil {
		return nil
	}
	out := &corev3.TcpKeepalive{}
	for _, k := range []*networking.ConnectionPoolSettings_TCPSettings_TcpKeepalive{all, own} {
		if k.GetProbes() > 0 {
			out.KeepaliveProbes = pb.UInt32(k.GetProbes())
		}
		if k.GetTime() != nil {
			out.KeepaliveTime = pb.UInt32(uint32(k.GetTime().GetSeconds()))
		}
		if k.GetInterval() != nil {
			out.KeepaliveInterval = pb.UInt32(uint32(k.GetInterval().GetSeconds()))
		}
	}
	return &clusterv3.UpstreamConnectionOptions{TcpKeepalive: out}
}

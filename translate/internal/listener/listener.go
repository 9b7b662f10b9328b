// Package listener makes Envoy listeners: what a sidecar takes from its workload (virtualOutbound and the listeners that
// it hands connections to), what it takes for its workload (virtualInbound), and what a gateway opens. It is called by
// translate. Pure; safe for any number of goroutines; results belong to the caller.
//
// One file per feature: accesslog, filters, hcm, tcp, inbound, outbound, gateway, inspector.
//
// May import: model, translate/internal/{pb,dialect,naming,tlsctx,rbac}, the Envoy and Istio API protos.
package listener

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	originalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/translate/internal/pb"
)

// Env is what all listeners of a proxy depend on.
type Env struct {
	Dialect      dialect.Dialect
	Mesh         *model.Mesh
	Interception model.Interception
	IPv6         bool
	HTTP10       bool // accepted by every connection manager
	Logs         Logs
}

// Wildcard is the address that stands for all.
func (e Env) Wildcard() string {
	if e.IPv6 {
		return "::"
	}
	return "0.0.0.0"
}

// Loopback is the address of the machine itself.
func (e Env) Loopback() string {
	if e.IPv6 {
		return "::1"
	}
	return "127.0.0.1"
}

// Transport protocols of a filter chain match.
const (
	rawBuffer = "raw_buffer"
	tls       = "tls"
)

// capturedMark is the packet mark of TPROXY capture, which keeps the client's address.
const capturedMark = 1337

func originalDst() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.original_dst",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pb.Any(&originaldstv3.OriginalDst{})},
	}
}

func originalSrc() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.original_src",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pb.Any(&originalsrcv3.OriginalSrc{Mark: capturedMark})},
	}
}

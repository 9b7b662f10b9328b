// Package xds holds the nouns of Envoy's xDS protocol as Lateen speaks it: a
// Resource that is marshalled once and shared by every stream, the immutable
// Set of all resources of one type, the immutable State that a control plane
// wants one client to have, the Node that a client says it is, and the Update
// that a client hands to its handler.
//
// Its sub-packages move them: xds/server serves the aggregated discovery
// service and keeps the ledger of who has what, xds/client subscribes,
// acknowledges and refuses, xds/nds is Istio's name table message. None of
// them knows what a resource means; names, versions and subscriptions are all
// they see.
//
// Called by translate (which makes resources), app (which wires server and
// client) and proxy/state (which receives updates).
//
// Every value of this package is immutable once built and safe for use by any
// number of goroutines. The package starts none.
//
// May import: telemetry.
package xds

import "strings"

// Type URLs of the resources that Lateen serves and understands.
const (
	ClusterType         = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType        = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	ListenerType        = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType           = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ScopedRouteType     = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	VirtualHostType     = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	SecretType          = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	ExtensionConfigType = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	RuntimeType         = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
	NameTableType       = "type.googleapis.com/istio.networking.nds.v1.NameTable"
	HealthInfoType      = "type.googleapis.com/istio.v1.HealthInformation"
	ProxyConfigType     = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig"
	BootstrapType       = "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap"
	AddressType         = "type.googleapis.com/istio.workload.Address"
	WorkloadType        = "type.googleapis.com/istio.workload.Workload"
	AuthorizationType   = "type.googleapis.com/istio.security.Authorization"
)

// RememberedType is our own: a list of the names (google.protobuf.ListValue) of
// listeners, and of virtual hosts as ROUTE/HOST, that the control plane remembers a
// workload to have used, for a proxy that asks for what it uses.
const RememberedType = "type.googleapis.com/lateen.discovery.v1.Remembered"

// Wildcard is the name that subscribes to every resource of a type.
const Wildcard = "*"

// order is make before break: what is referred to comes before what refers to
// it. Additions are sent in this order, removals in the reverse.
var order = [...]string{
	ClusterType,
	EndpointType,
	// Listeners refer to the configuration of their filters, and that may refer to
	// clusters.
	ExtensionConfigType,
	ListenerType,
	ScopedRouteType,
	RouteType,
	VirtualHostType,
	SecretType,
	NameTableType,
}

// Rank is a type's place in the order of additions; types that the order does
// not name share the last place.
func Rank(typeURL string) int {
	for i, t := range order {
		if t == typeURL {
			return i
		}
	}
	return len(order)
}

// TypeURL is the text, one copy for all clients of the types that they all ask
// for.
func TypeURL(text []byte) string {
	for _, t := range order {
		if string(text) == t {
			return t
		}
	}
	return string(text)
}

// ByNameOnly reports whether an empty list of names in a client's first
// request for the type asks for nothing. For every other type it asks for all
// resources, as the protocol's oldest clients do for clusters and listeners.
func ByNameOnly(typeURL string) bool {
	switch typeURL {
	case EndpointType, RouteType, VirtualHostType, SecretType, ExtensionConfigType:
		return true
	}
	return false
}

// Whole reports whether a response of the type must never be split. A client
// that reads configuration of Istio's kinds (networking.istio.io/v1/Gateway) has
// nothing else to tell it that it has all.
func Whole(typeURL string) bool { return !strings.HasPrefix(typeURL, "type.googleapis.com/") }

// Collection is the other name, beside its own, that subscribes to a resource:
// a virtual host is named ROUTE/HOST and comes also to those who ask for all
// hosts of the route configuration ROUTE. It is "" for what belongs to none.
func Collection(typeURL, name string) string {
	if typeURL != VirtualHostType {
		return ""
	}
	return name[:max(strings.LastIndexByte(name, '/'), 0)]
}

// ShortType is the type's usual abbreviation (CDS, LDS…), or its message name
// where there is none: for tables, logs and metric labels.
func ShortType(typeURL string) string {
	switch typeURL {
	case ClusterType:
		return "CDS"
	case EndpointType:
		return "EDS"
	case ListenerType:
		return "LDS"
	case RouteType:
		return "RDS"
	case ScopedRouteType:
		return "SRDS"
	case VirtualHostType:
		return "VHDS"
	case SecretType:
		return "SDS"
	case ExtensionConfigType:
		return "ECDS"
	case RuntimeType:
		return "RTDS"
	case NameTableType:
		return "NDS"
	case ProxyConfigType:
		return "PCDS"
	case AddressType, WorkloadType:
		return "WDS"
	case AuthorizationType:
		return "WADS"
	}
	for i := len(typeURL) - 1; i >= 0; i-- {
		if typeURL[i] == '.' || typeURL[i] == '/' {
			return typeURL[i+1:]
		}
	}
	return typeURL
}

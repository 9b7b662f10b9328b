package model

import (
	"cmp"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/config/protocol"
)

// ConfigKey names a configuration object, Origin says where it was written.
type (
	ConfigKey = config.Key
	Origin    = config.Origin
)

// Protocol is what a port speaks; the zero value means that the bytes decide.
type Protocol = protocol.Protocol

// The protocols, for rooms that don't read configuration.
const (
	Unsupported = protocol.Unsupported
	TCP         = protocol.TCP
	UDP         = protocol.UDP
	HTTP        = protocol.HTTP
	HTTP2       = protocol.HTTP2
	HTTPS       = protocol.HTTPS
	GRPC        = protocol.GRPC
	GRPCWeb     = protocol.GRPCWeb
	TLS         = protocol.TLS
	Mongo       = protocol.Mongo
	Redis       = protocol.Redis
	MySQL       = protocol.MySQL
	HBONE       = protocol.HBONE
)

// ParseProtocol reads a protocol's name; unknown names are Unsupported.
func ParseProtocol(s string) Protocol { return protocol.Parse(s) }

// CompareAge is the order in which objects compete: the older one first, then by name, namespace and kind. Where two want
// the same thing, the first in this order has it.
func CompareAge(a time.Time, ak config.Key, b time.Time, bk config.Key) int {
	return cmp.Or(a.Compare(b), strings.Compare(ak.Name, bk.Name), strings.Compare(ak.Namespace, bk.Namespace),
		cmp.Compare(ak.Kind, bk.Kind))
}

// CompareHosts orders hostnames from the most to the least specific, for sorting.
func CompareHosts(a, b string) int {
	switch {
	case a == b:
		return 0
	case host.Name(a).MoreSpecific(host.Name(b)):
		return -1
	default:
		return 1
	}
}

// IsWildcard reports whether the hostname stands for more than one.
func IsWildcard(name string) bool { return host.Name(name).IsWildcard() }

// HostMatches reports whether two hostnames, each possibly a wildcard, have a name in common.
func HostMatches(a, b string) bool { return host.Name(a).Matches(host.Name(b)) }

// HostSubsetOf reports whether every name that a stands for is one that b stands for.
func HostSubsetOf(a, b string) bool { return host.Name(a).SubsetOf(host.Name(b)) }

// samePlace compares origins by what is shown of them.
func samePlace(a, b config.Origin) bool { return a.Source == b.Source && a.Position == b.Position }

// equalMessages compares messages, taking the short way where they are one.
func equalMessages[M interface {
	comparable
	proto.Message
}](a, b M) bool {
	return a == b || proto.Equal(a, b)
}

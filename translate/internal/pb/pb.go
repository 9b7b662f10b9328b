// Package pb holds the few constructors that every translator needs to write Envoy's protos without noise: packed
// messages, wrapped scalars, addresses, string matchers and metadata. It is called only inside room translate. All
// functions are pure and safe for any number of goroutines; what they return belongs to the caller.
//
// May import: the Envoy and Istio API protos, nothing of ours.
package pb

import (
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const typePrefix = "type.googleapis.com/"

// Any packs m. The bytes are deterministic, so that equal messages get equal content hashes. Messages are built by
// translate itself, so one that cannot be marshalled is a defect of the program.
func Any(m proto.Message) *anypb.Any {
	return &anypb.Any{TypeUrl: TypeURL(m), Value: Marshal(m)}
}

// Marshal is proto.Marshal with a stable order of map entries.
func Marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("marshal %s: %v", m.ProtoReflect().Descriptor().FullName(), err))
	}
	return b
}

// TypeURL is the name under which m travels in an Any.
func TypeURL(m proto.Message) string {
	return typePrefix + string(m.ProtoReflect().Descriptor().FullName())
}

// UInt32 wraps v.
func UInt32(v uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(v) }

// Bool wraps v.
func Bool(v bool) *wrapperspb.BoolValue { return wrapperspb.Bool(v) }

// Duration wraps d.
func Duration(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

// Address is a TCP socket address, or a pipe when host starts with "unix://".
func Address(host string, port uint32) *corev3.Address {
	if path, ok := cutUnix(host); ok {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func cutUnix(host string) (string, bool) {
	const prefix = "unix://"
	if len(host) >= len(prefix) && host[:len(prefix)] == prefix {
		return host[len(prefix):], true
	}
	return "", false
}

// ADS is the source "the aggregated stream this resource came by", without a limit on the first fetch: a proxy that
// waits is better than one that starts with half of its configuration.
func ADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   Duration(0),
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}

// MillionthPercent converts a percentage with fractions (0 to 100) to Envoy's form.
func MillionthPercent(percent float64) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: uint32(percent * 10_000), Denominator: typev3.FractionalPercent_MILLION}
}

// WholePercent converts a whole percentage to Envoy's form.
func WholePercent(percent uint32) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: percent, Denominator: typev3.FractionalPercent_HUNDRED}
}

// String is a string inside a Struct.
func String(s string) *structpb.Value { return structpb.NewStringValue(s) }

// Struct is a Struct of the given fields.
func Struct(fields map[string]*structpb.Value) *structpb.Struct {
	return &structpb.Struct{Fields: fields}
}

// SetMetadata puts key = value into the namespace ns of md and returns md, made when it was nil.
func SetMetadata(md *corev3.Metadata, ns, key string, value *structpb.Value) *corev3.Metadata {
	if md == nil {
		md = &corev3.Metadata{}
	}
	if md.FilterMetadata == nil {
		md.FilterMetadata = map[string]*structpb.Struct{}
	}
	s := md.FilterMetadata[ns]
	if s == nil {
		s = Struct(map[string]*structpb.Value{})
		md.FilterMetadata[ns] = s
	}
	s.Fields[key] = value
	return md
}

package endpoint

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
)

// Numbers of the fields that Append writes.
const (
	assignmentName      = 1
	assignmentEndpoints = 2

	localityPlace     = 1
	localityEndpoints = 2
	localityWeight    = 3
	localityPriority  = 5

	placeRegion  = 1
	placeZone    = 2
	placeSubZone = 3

	lbEndpointEndpoint = 1
	lbEndpointHealth   = 2
	lbEndpointMetadata = 3
	lbEndpointWeight   = 4

	endpointAddress = 1
	addressSocket   = 1
	addressPipe     = 2
	socketAddress   = 2
	socketPort      = 3
	pipePath        = 1

	filterMetadata = 1
	structFields   = 1
	mapKey         = 1
	mapValue       = 2
	valueString    = 3

	wrapped = 1
)

// Append appends the encoding of Assignment(in). A mesh has more load assignments than anything else, and a message for
// each part of each endpoint costs ten times as much as its bytes.
func Append(b []byte, in Input) []byte {
	b = appendString(b, assignmentName, in.Cluster)
	for _, g := range groupsOf(in) {
		b = g.append(b)
	}
	return b
}

func (g *group) append(b []byte) []byte {
	b, at := pb.Open(b, assignmentEndpoints)
	b, place := pb.Open(b, localityPlace)
	b = appendString(b, placeRegion, g.at().Region)
	b = appendString(b, placeZone, g.at().Zone)
	b = appendString(b, placeSubZone, g.at().SubZone)
	b = pb.Shut(b, place)
	for i := range g.members {
		b = g.members[i].append(b)
	}
	b = appendWrapped(b, localityWeight, g.weight)
	b = appendNumber(b, localityPriority, uint64(g.priority))
	return pb.Shut(b, at)
}

func (m *member) append(b []byte) []byte {
	b, at := pb.Open(b, localityEndpoints)
	b = appendNumber(b, lbEndpointHealth, uint64(health(m.Health)))
	b, metadata := pb.Open(b, lbEndpointMetadata)
	// Entries of maps come in the order of their keys.
	if m.mtls {
		b = appendMetadata(b, naming.TransportSocketMatchMeta, "tlsMode", model.TLSModeIstio)
	}
	b = appendMetadata(b, naming.IstioMetadata, "workload", workload(m.Workload))
	b = pb.Shut(b, metadata)
	b = appendWrapped(b, lbEndpointWeight, max(m.Weight, 1))
	// Of a choice of fields protobuf writes the one that is set after all others.
	return pb.Shut(m.appendAddress(b), at)
}

func (m *member) appendAddress(b []byte) []byte {
	b, endpoint := pb.Open(b, lbEndpointEndpoint)
	b, address := pb.Open(b, endpointAddress)
	if path, ok := strings.CutPrefix(m.Address, "unix://"); ok {
		b, pipe := pb.Open(b, addressPipe)
		b = appendString(b, pipePath, path)
		return pb.Shut(pb.Shut(pb.Shut(b, pipe), address), endpoint)
	}
	b, socket := pb.Open(b, addressSocket)
	b = appendString(b, socketAddress, m.Address)
	// The port is one of several fields of which one is set: it is written even if it is 0.
	b = protowire.AppendTag(b, socketPort, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(m.port))
	return pb.Shut(pb.Shut(pb.Shut(b, socket), address), endpoint)
}

// appendMetadata is one namespace of metadata with one text in it.
func appendMetadata(b []byte, namespace, key, text string) []byte {
	b, entry := pb.Open(b, filterMetadata)
	b = appendPresent(b, mapKey, namespace)
	b, fields := pb.Open(b, mapValue)
	b, field := pb.Open(b, structFields)
	b = appendPresent(b, mapKey, key)
	b, value := pb.Open(b, mapValue)
	b = appendPresent(b, valueString, text)
	return pb.Shut(pb.Shut(pb.Shut(pb.Shut(b, value), field), fields), entry)
}

// appendString writes a text unless it is empty, as proto3 does.
func appendString(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return appendPresent(b, field, s)
}

func appendPresent(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendNumber(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

// appendWrapped writes a UInt32Value.
func appendWrapped(b []byte, field protowire.Number, v uint32) []byte {
	b, at := pb.Open(b, field)
	return pb.Shut(appendNumber(b, wrapped, uint64(v)), at)
}

package nds

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The message is on the wire what istio-agent reads and istiod writes: fields by
// their numbers there.
func TestNameTableOnTheWire(t *testing.T) {
	text := func(b []byte, n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
	}
	var info []byte
	info = text(info, 1, "10.0.0.1")
	info = text(info, 1, "fd00::1")
	info = text(info, 2, "Kubernetes")
	info = text(info, 3, "reviews")
	info = text(info, 4, "default")
	entry := text(nil, 1, "reviews.default.svc.cluster.local")
	entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), info)
	table := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), entry)

	want := &NameTable{Table: map[string]*NameTable_NameInfo{"reviews.default.svc.cluster.local": {
		Ips: []string{"10.0.0.1", "fd00::1"}, Registry: "Kubernetes", Shortname: "reviews", Namespace: "default"}}}
	got := &NameTable{}
	if err := proto.Unmarshal(table, got); err != nil || !proto.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if b, err := (proto.MarshalOptions{Deterministic: true}).Marshal(want); err != nil || string(b) != string(table) {
		t.Errorf("%x, %v, want %x", b, err, table)
	}
	if name := got.ProtoReflect().Descriptor().FullName(); name != "istio.networking.nds.v1.NameTable" {
		t.Errorf("it is called %s", name)
	}
}

package compile

import (
	"os"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// TestIgnoredFields holds the table to what there is, and docs/envoy-fields.md to the table. Refresh with UPDATE=1.
func TestIgnoredFields(t *testing.T) {
	var page strings.Builder
	page.WriteString(ignoredPage)
	for _, f := range IgnoredFields() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(f.Message)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := d.(protoreflect.MessageDescriptor)
		if !ok {
			t.Fatalf("%s is no message", f.Message)
		}
		var names []string
		for _, name := range strings.Fields(f.Fields) {
			if m.Fields().ByName(protoreflect.Name(name)) == nil {
				t.Errorf("%s has no field %s", f.Message, name)
			}
			names = append(names, "`"+name+"`")
		}
		page.WriteString("| `" + string(f.Message.Name()) + "` | " + strings.Join(names, ", ") + " | " + f.Instead + " |\n")
	}
	const file = "../../docs/envoy-fields.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != page.String() {
		t.Errorf("%s isn't what it should be (%v); UPDATE=1 go test ./proxy/compile -run IgnoredFields writes it", file, err)
	}
}

const ignoredPage = `# Envoy's fields without effect

What the proxy can't do of what a resource asks for it refuses, with the field's name, and keeps the version before. The fields in
this table are accepted all the same, because proxies are sent them as a matter of course, or because what happens instead does no
harm. Of a bootstrap's own resources the proxy logs each one that is given.

| Message | Fields | What happens instead |
| --- | --- | --- |
`

func TestIgnored(t *testing.T) {
	var m clusterv3.Cluster
	read(t, `{name: a, respect_dns_ttl: true, connect_timeout: 1s, circuit_breakers: {thresholds: [{max_connections: 1}, {track_remaining: true}]},
  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {@HTTPOptions,
    explicit_http_config: {http2_protocol_options: {allow_metadata: true, max_outbound_frames: 5}}}}}`, &m)
	want := []string{
		"Cluster: respect_dns_ttl has no effect: names are looked up again every dns_refresh_rate",
		"Http2ProtocolOptions: allow_metadata has no effect: METADATA frames are ignored",
		"Thresholds: track_remaining has no effect: what is left isn't shown",
	}
	if got := Ignored(&m); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := Ignored(&clusterv3.Cluster{Name: "a"}); got != nil {
		t.Errorf("of a plain cluster: %q", got)
	}
}

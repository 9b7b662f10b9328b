package world_test

import (
	"net/netip"
	"strings"
	"testing"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/world"
)

// objects reads YAML that must be right.
func objects(t testing.TB, yaml string) []*config.Object {
	t.Helper()
	d := config.Decode([]byte(yaml), config.DecodeOptions{File: "test.yaml"})
	for _, p := range d.Problems() {
		if p.Severity == config.Error {
			t.Fatalf("%v\n%s", p, yaml[:min(len(yaml), 2000)])
		}
	}
	return d.Objects()
}

// build returns a World that was given the YAML in one batch.
func build(t testing.TB, yaml string) *world.World {
	t.Helper()
	w := world.New(world.Options{})
	put(t, w, yaml)
	return w
}

func put(t testing.TB, w *world.World, yaml string) {
	t.Helper()
	var b world.Batch
	for _, o := range objects(t, yaml) {
		b.Changes = append(b.Changes, world.ObjectChange{Key: o.Key, Object: o})
	}
	w.Apply(b)
}

func drop(w *world.World, keys ...config.Key) {
	var b world.Batch
	for _, k := range keys {
		b.Changes = append(b.Changes, world.ObjectChange{Key: k})
	}
	w.Apply(b)
}

func key(namespace, host string) model.ServiceKey {
	return model.ServiceKey{Namespace: namespace, Hostname: host}
}

func service(t testing.TB, s *world.Snapshot, namespace, host string) *model.Service {
	t.Helper()
	svc := s.Service(key(namespace, host))
	if svc == nil {
		t.Fatalf("no service %s in %s", host, namespace)
	}
	return svc
}

// same fails with both texts unless they are equal, give or take blanks at line ends.
func same(t testing.TB, what, got, want string) {
	t.Helper()
	tidy := func(s string) string {
		var lines []string
		for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
			lines = append(lines, strings.TrimSpace(line))
		}
		return strings.Join(lines, "\n")
	}
	if tidy(got) != tidy(want) {
		t.Errorf("%s\ngot:\n%s\nwant:\n%s", what, tidy(got), tidy(want))
	}
}

func addresses(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

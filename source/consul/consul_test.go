package consul_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/consul"
	"lateen.dev/lateen/source/consul/consultest"
	"lateen.dev/lateen/source/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type live = map[config.Key]*config.Object

// start makes a Consul and a source that asks it.
func start(t *testing.T, change func(*consul.Options)) (*consultest.Server, func() *consul.Source) {
	t.Helper()
	s := consultest.New()
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	return s, func() *consul.Source {
		o := consul.Options{Address: h.URL, Pause: time.Millisecond, BackoffMin: time.Millisecond, BackoffMax: 10 * time.Millisecond}
		if change != nil {
			change(&o)
		}
		src, err := consul.New(o)
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
}

func instance(name string, port int, tags ...string) consultest.Service {
	return consultest.Service{ID: fmt.Sprint(name, "-", port), Name: name, Port: port, Address: "10.0.0.1", Tags: tags}
}

func TestConformance(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
		s, src := start(t, nil)
		return sourcetest.Fixture{
			Source: src(), Kind: config.ServiceEntry,
			Put: func(name string, version int) {
				s.Register(consultest.Service{ID: name, Name: name, Port: 80, Tags: []string{fmt.Sprint("version=v", version)}})
			},
			Delete:  func(name string) { s.Deregister(consultest.Datacenter, name) },
			Restart: func() source.Source { return src() },
			Fail:    func() { s.Fail("No cluster leader") }, Mend: func() { s.Fail("") },
		}
	})
}

func entry(l live, name string) *networking.ServiceEntry {
	o := l[config.Key{Kind: config.ServiceEntry, Namespace: "default", Name: name}]
	if o == nil {
		return nil
	}
	return config.As[*networking.ServiceEntry](o)
}

// brief writes a ServiceEntry in short.
func brief(se *networking.ServiceEntry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %s", se.Hosts, se.Resolution)
	for _, p := range se.Ports {
		fmt.Fprintf(&b, " %s/%d/%s", p.Name, p.Number, p.Protocol)
	}
	for _, e := range se.Endpoints {
		fmt.Fprintf(&b, "\n%s %v %v %s %s %d", e.Address, e.Ports, e.Labels, e.Locality, e.ServiceAccount, e.Weight)
	}
	return b.String()
}

func TestWhatServicesBecome(t *testing.T) {
	for name, c := range map[string]struct {
		services []consultest.Service
		want     string
	}{
		"tags and metadata": {
			[]consultest.Service{{ID: "1", Name: "web", Port: 80, Address: "10.0.0.1", Tags: []string{"version=v1", "zone|a", "plain", "bad=!", "protocol=http"},
				Meta: map[string]string{"version": "v0", "team": "x", "service-account": "web", "port": "8080"}, Weights: &consultest.Weights{Passing: 7, Warning: 1}}},
			"[web.service.consul] STATIC http/8080/HTTP\n10.0.0.1 map[http:80] map[app:web protocol:http rack:r7 team:x version:v1 zone:a] dc1 web 7",
		},
		"ports that differ": {
			[]consultest.Service{instance("web", 30001, "grpc"), instance("web", 30002)},
			"[web.service.consul] STATIC grpc/80/GRPC\n10.0.0.1 map[grpc:30001] map[app:web protocol:grpc rack:r7] dc1  1\n10.0.0.1 map[grpc:30002] map[app:web rack:r7] dc1  1",
		},
		"several ports": {
			[]consultest.Service{{Name: "web", Address: "10.0.0.1", Ports: []consultest.Port{{Name: "http", Port: 8080, Default: true}, {Name: "grpc-admin", Port: 9000}}}},
			"[web.service.consul] STATIC default/8080/ grpc-admin/9000/GRPC\n10.0.0.1 map[] map[app:web rack:r7] dc1  1",
		},
		"of Consul's own mesh": {
			[]consultest.Service{instance("web", 80), {Name: "web", ID: "proxy", Kind: "connect-proxy", Port: 20000}, {Name: "web", ID: "native", Port: 443, Connect: &consultest.Connect{Native: true}}},
			"[web.service.consul] STATIC default/80/\n10.0.0.1 map[] map[app:web rack:r7] dc1  1",
		},
		"host names": {
			[]consultest.Service{{Name: "Old_Web", ID: "x", Port: 80, Address: "old.example.com"}},
			"[old_web.service.consul] DNS default/80/\nold.example.com map[] map[app:Old_Web rack:r7] dc1  1",
		},
		"node's address": {
			[]consultest.Service{{Name: "web", Port: 80}},
			"[web.service.consul] STATIC default/80/\n127.0.0.1 map[] map[app:web rack:r7] dc1  1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, src := start(t, nil)
			s.NodeMeta = map[string]string{"rack": "r7", "consul-network-segment": ""}
			for _, v := range c.services {
				s.Register(v)
			}
			one := src()
			r, _ := sourcetest.Start(t, one)
			object := strings.ReplaceAll(strings.ToLower(c.services[0].Name), "_", "-")
			r.Until("it came", func(l live) bool { return entry(l, object) != nil })
			if diff := cmp.Diff(c.want, brief(entry(r.Live(), object))); diff != "" {
				t.Error(diff)
			}
			if len(r.Live()) != 1 || one.Problems().HasErrors() {
				t.Errorf("live %v, problems %v", r.Live(), one.Problems())
			}
			for _, o := range r.Live() {
				if o.Origin.String() != one.Name()+"/"+c.services[0].Name {
					t.Errorf("origin %s", o.Origin)
				}
			}
		})
	}
}

// Instances that Consul calls critical are no endpoints; warnings weigh less.
func TestHealth(t *testing.T) {
	s, src := start(t, nil)
	s.Register(consultest.Service{ID: "a", Name: "web", Port: 80, Address: "10.0.0.1", Weights: &consultest.Weights{Passing: 10, Warning: 2}})
	s.Register(consultest.Service{ID: "b", Name: "web", Port: 80, Address: "10.0.0.2"})
	r, _ := sourcetest.Start(t, src())
	endpoints := func(want string) {
		t.Helper()
		r.Until("the endpoints are "+want, func(l live) bool {
			se := entry(l, "web")
			if se == nil {
				return false
			}
			var got []string
			for _, e := range se.Endpoints {
				got = append(got, fmt.Sprint(e.Address, "*", e.Weight))
			}
			return strings.Join(got, " ") == want
		})
	}
	endpoints("10.0.0.1*10 10.0.0.2*1")
	s.SetStatus(consultest.Datacenter, "b", "critical")
	endpoints("10.0.0.1*10")
	s.SetStatus(consultest.Datacenter, "a", "warning")
	endpoints("10.0.0.1*2")
	s.SetStatus(consultest.Datacenter, "a", "critical")
	endpoints("")
	s.SetStatus(consultest.Datacenter, "b", "passing")
	endpoints("10.0.0.2*1")
}

// A Consul that was restored from older data has a lower index: everything is
// read again, and waiting goes on from there.
func TestIndexGoesBack(t *testing.T) {
	s, src := start(t, nil)
	for i := range 5 {
		s.Register(instance(fmt.Sprint("old", i), 80))
	}
	s.Register(instance("web", 80, "version=v1"))
	r, _ := sourcetest.Start(t, src())
	r.Until("all came", func(l live) bool { return len(l) == 6 })
	s.StartAnew(instance("web", 80, "version=v0"))
	r.Until("what is left is there", func(l live) bool {
		return len(l) == 1 && entry(l, "web").Endpoints[0].Labels["version"] == "v0"
	})
	s.Register(instance("new", 80))
	r.Until("changes come", func(l live) bool { return len(l) == 2 })
}

// Nobody asks in a loop: an idle Consul is asked when a wait is over.
func TestIdleAsksRarely(t *testing.T) {
	s, src := start(t, nil)
	s.Register(instance("web", 80))
	r, _ := sourcetest.Start(t, src())
	r.Until("it came", func(l live) bool { return len(l) == 1 })
	s.Register(instance("other", 80))
	r.Until("it came", func(l live) bool { return len(l) == 2 })
	if n := s.Queries(); n > 12 {
		t.Errorf("%d queries for two changes", n)
	}
}

func TestTokenIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong")
	s, src := start(t, func(o *consul.Options) { o.TokenFile = file })
	s.RequireToken("right")
	s.Register(instance("web", 80))
	one := src()
	r, _ := sourcetest.Start(t, one)
	until(t, "the refusal is seen", func() bool { return strings.Contains(one.Condition().Reason, "ACL not found") })
	if state := one.Condition().State; state != source.Waiting || !one.Problems().HasErrors() {
		t.Errorf("state %s, problems %v", state, one.Problems())
	}
	write("right")
	r.Until("it came", func(l live) bool { return len(l) == 1 })
	s.RequireToken("next")
	s.Register(instance("other", 80))
	until(t, "the refusal is seen", func() bool { return one.Condition().State == source.Failing })
	write("next")
	r.Until("the other came", func(l live) bool { return len(l) == 2 })
	s.Filter(true)
	until(t, "the part is complained about", func() bool {
		ps := one.Problems()
		return len(ps) == 1 && ps[0].Severity == config.Warning && strings.Contains(ps[0].Message, "token")
	})
}

func TestDatacenters(t *testing.T) {
	s, src := start(t, func(o *consul.Options) { o.Datacenters = []string{"dc1", "dc2"} })
	s.Register(instance("web", 80))
	far := instance("web", 80)
	far.Datacenter, far.Address = "dc2", "10.2.0.1"
	s.Register(far)
	r, _ := sourcetest.Start(t, src())
	r.Until("both came", func(l live) bool { return len(l) == 1 && len(entry(l, "web").Endpoints) == 2 })
	if got := brief(entry(r.Live(), "web")); !strings.Contains(got, "10.2.0.1 map[] map[app:web] dc2") {
		t.Error(got)
	}
	s.Deregister("dc1", "web-80")
	r.Until("one is left", func(l live) bool { return len(l) == 1 && len(entry(l, "web").Endpoints) == 1 })
}

// More services than may be waited for at one time take turns.
func TestManyServicesTakeTurns(t *testing.T) {
	s, src := start(t, func(o *consul.Options) { o.Watches, o.Wait = 4, 20*time.Millisecond })
	for i := range 40 {
		s.Register(instance(fmt.Sprint("s", i), 80))
	}
	r, _ := sourcetest.Start(t, src())
	r.Until("all came", func(l live) bool { return len(l) == 40 })
	s.SetStatus(consultest.Datacenter, "s39-80", "critical")
	r.Until("the change came", func(l live) bool { return len(entry(l, "s39").Endpoints) == 0 })
}

// Two names that make one of ours: the first keeps it, the other is complained about.
func TestNamesThatCollide(t *testing.T) {
	s, src := start(t, nil)
	s.Register(instance("a-b", 80))
	one := src()
	r, _ := sourcetest.Start(t, one)
	r.Until("it came", func(l live) bool { return len(l) == 1 })
	s.Register(instance("a_b", 80))
	until(t, "the other is complained about", func() bool { return one.Problems().HasErrors() })
	if got := entry(r.Live(), "a-b").Hosts[0]; got != "a-b.service.consul" {
		t.Error(got)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(sourcetest.Wait)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

package workload

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
)

// A proxy's workload is an endpoint as its group's template says while the proxy is
// connected and for a while after; with a probe in the group, while it is healthy.
func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := begin(t, Options{})
		group := func(name string, probe *networking.ReadinessProbe) {
			r.Observe(source.Batch{Changes: []source.Change{source.Put(&config.Object{
				Key: config.Key{Kind: config.WorkloadGroup, Namespace: "default", Name: name},
				Spec: &networking.WorkloadGroup{Metadata: &networking.WorkloadGroup_ObjectMeta{Labels: map[string]string{"app": "db"}}, Probe: probe,
					Template: &networking.WorkloadEntry{ServiceAccount: "db", Ports: map[string]uint32{"tcp": 5432}}},
			})}})
		}
		group("db", nil)
		group("probed", &networking.ReadinessProbe{})
		j := Join{Namespace: "default", Group: "db", Address: netip.MustParseAddr("10.1.2.3"), Labels: map[string]string{"version": "v2"},
			ServiceAccount: "db", Network: "n1", Locality: "a/b"}
		for range 2 { // two streams of one proxy
			if err := r.Join(j); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		const name = "db-10.1.2.3-n1"
		entry := func() *networking.WorkloadEntry {
			return config.As[*networking.WorkloadEntry](groupOf(w.get(config.WorkloadEntry, name)))
		}
		if e := entry(); e.GetAddress() != "10.1.2.3" || e.GetPorts()["tcp"] != 5432 || e.GetLabels()["app"] != "db" || e.GetLabels()["version"] != "v2" ||
			e.GetServiceAccount() != "db" || e.GetNetwork() != "n1" || e.GetLocality() != "a/b" {
			t.Errorf("the entry is %v", e)
		}
		for range 2 {
			if err := r.Disconnect(j.ID()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		if synctest.Wait(); entry() == nil {
			t.Error("its proxy is away for a moment, and it is gone")
		}
		if err := r.Join(j); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if synctest.Wait(); entry() == nil {
			t.Error("its proxy is back, and it is gone")
		}
		if err := r.Disconnect(j.ID()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if synctest.Wait(); entry() != nil {
			t.Error("its proxy is gone, and it is not")
		}

		probed := Join{Namespace: "default", Group: "probed", Address: netip.MustParseAddr("fd00::1")}
		if err := r.Join(probed); err != nil {
			t.Fatal(err)
		}
		for _, healthy := range []bool{false, true, false} {
			if err := r.SetReady(probed.ID(), healthy); err != nil {
				t.Fatal(err)
			}
			if synctest.Wait(); (w.get(config.WorkloadEntry, "probed-fd00--1") != nil) != healthy {
				t.Errorf("healthy %t, but the entry is %v", healthy, w.get(config.WorkloadEntry, "probed-fd00--1"))
			}
		}

		for what, bad := range map[string]Join{
			"no such group":   {Namespace: "default", Group: "none", Address: j.Address},
			"no address":      {Namespace: "default", Group: "db"},
			"another account": {Namespace: "default", Group: "db", Address: j.Address, ServiceAccount: "web"},
		} {
			if err := r.Join(bad); !errors.Is(err, ErrGroup) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

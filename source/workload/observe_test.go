package workload

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/sourcetest"
)

func TestConformance(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
		// The clock stands: when a proxy connected is a part of what it is.
		o := Options{File: filepath.Join(t.TempDir(), "workloads.json"), Now: func() time.Time { return time.Unix(1e9, 0) }}
		r := must[*Registry](t)(Open(o))
		remove := func(name string) {
			if err := r.Remove("default/" + name); err != nil {
				t.Fatal(err)
			}
		}
		return sourcetest.Fixture{
			Source: r, Kind: config.WorkloadEntry,
			Restart: func() source.Source {
				r = must[*Registry](t)(Open(o))
				if err := r.Connect("default/a"); err != nil {
					t.Fatal(err)
				}
				return r
			},
			Put: func(name string, version int) {
				remove(name)
				reg, err := r.Register(Request{
					Namespace: "default", Service: name, Ports: []Port{{Number: 80}}, Labels: map[string]string{"round": fmt.Sprint(version)},
				})
				if err == nil {
					err = r.Connect(reg.ID)
				}
				if err == nil {
					err = r.SetReady(reg.ID, true)
				}
				if err != nil {
					t.Fatal(err)
				}
			},
			Delete: remove,
		}
	})
}

func parse(t *testing.T, text string) *config.Object {
	t.Helper()
	d := config.Decode([]byte(text), config.DecodeOptions{File: "in.yaml"})
	if err := d.Problems().Err(); err != nil {
		t.Fatal(err)
	}
	return d.Objects()[0]
}

func TestWorkloadGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := begin(t, Options{})
		q := reviews("v1")
		q.ServiceAccount = ""
		reg := must[Registration](t)(r.Register(q))
		if err := r.SetReady(reg.ID, true); err != nil {
			t.Fatal(err)
		}
		group := parse(t, `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: reviews-v1}
spec:
  metadata: {labels: {tier: middle}, annotations: {note: hello}}
  template: {serviceAccount: from-group, locality: r/z, weight: 7, network: n, labels: {version: overridden}}
`)
		r.Observe(source.Batch{Initial: true, Changes: []source.Change{source.Put(group)}})
		synctest.Wait()
		o := w.get(config.WorkloadEntry, "reviews-v1")
		spec := config.As[*networking.WorkloadEntry](o)
		if spec.ServiceAccount != "from-group" || spec.Locality != "r/z" || spec.Weight != 7 || spec.Network != "n" ||
			spec.Labels["tier"] != "middle" || spec.Labels["version"] != "v1" || o.Annotations["note"] != "hello" || spec.Address != reg.Address.String() {
			t.Errorf("entry %v with annotations %v", spec, o.Annotations)
		}
		r.Observe(source.Batch{Changes: []source.Change{source.Drop(group.Key)}})
		synctest.Wait()
		if spec := config.As[*networking.WorkloadEntry](w.get(config.WorkloadEntry, "reviews-v1")); spec.Weight != 0 || spec.Locality != "" {
			t.Errorf("without the group: %v", spec)
		}
	})
}

func TestServiceEntryTakesTheName(t *testing.T) {
	for name, hosts := range map[string]string{"short": "reviews", "full": "other.com, reviews.default.svc.cluster.local"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := begin(t, Options{})
				must[Registration](t)(r.Register(reviews("v1")))
				synctest.Wait()
				entry := parse(t, `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: mine}
spec: {hosts: [`+hosts+`], ports: [{number: 9080, name: http}], resolution: STATIC, workloadSelector: {labels: {app: reviews}}}
`)
				r.Observe(source.Batch{Changes: []source.Change{source.Put(entry)}})
				synctest.Wait()
				if w.get(config.Service, "reviews") != nil {
					t.Error("our Service is still there")
				}
				r.Observe(source.Batch{Changes: []source.Change{source.Drop(entry.Key)}})
				synctest.Wait()
				if w.get(config.Service, "reviews") == nil {
					t.Error("our Service isn't back")
				}
			})
		})
	}
}

// FuzzLoad: a damaged file is an error, never a crash or a wrong address.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(`[{"namespace":"a","service":"b","id":"a/b","name":"b","address":"127.64.0.1"}]`))
	f.Add([]byte(`[null, {"address":"::1"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		saved, err := decodeSaved(data)
		if err == nil {
			objectsOf(saved, &observed{})
		}
	})
}

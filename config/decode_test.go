package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
)

const reviews = `# who is served by which version
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: reviews
  labels: {app: reviews}
spec:
  hosts: [reviews]
  http:
  - timeout: 1m30s
    route:
    - destination:
        host: reviews
        subset: v1
      weight: 100
`

func decode(t *testing.T, text string) config.Decoded {
	t.Helper()
	return config.Decode([]byte(text), config.DecodeOptions{File: "in.yaml"})
}

func TestDecodeObject(t *testing.T) {
	d := decode(t, "---\n"+reviews)
	if err := d.Problems().Err(); err != nil {
		t.Fatal(err)
	}
	o := d.Objects()[0]
	if want := (config.Key{Kind: config.VirtualService, Namespace: "default", Name: "reviews"}); o.Key != want {
		t.Errorf("key %v, want %v", o.Key, want)
	}
	vs := config.As[*networking.VirtualService](o)
	if got := vs.Http[0].Timeout.AsDuration(); got != 90*time.Second {
		t.Errorf("timeout %v, want 90s", got)
	}
	if got := o.Origin.String(); got != "in.yaml:3:1" {
		t.Errorf("origin %s", got)
	}
	for path, want := range map[string]string{
		"spec.http[0].route[0].weight":                "in.yaml:16:7",
		"spec.http[0].route[0].destination.subset":    "in.yaml:15:9",
		"spec.http[0].route[0].destination.port":      "in.yaml:13:7",
		"spec.http[3]":                                "in.yaml:10:3",
		"metadata.labels.app":                         "in.yaml:7:12",
		"spec.http[0].route[0].destination.subset.no": "in.yaml:15:9",
	} {
		if got := o.Origin.At(path).String(); got != want {
			t.Errorf("At(%s) = %s, want %s", path, got, want)
		}
	}
}

// TestBadDocumentsHideNothing has a bad document of every sort among good ones.
func TestBadDocumentsHideNothing(t *testing.T) {
	text := reviews + "---\n{ not yaml\n---\n- a list\n---\n" +
		strings.Replace(reviews, "timeout", "timeuot", 1) + "---\n# nothing\n--- # again\n" +
		strings.Replace(reviews, "name: reviews", "name: other", 1)
	d := decode(t, text)
	var got []string
	for _, o := range d.Objects() {
		got = append(got, o.Name)
	}
	if diff := cmp.Diff([]string{"reviews", "other"}, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	bad := d.Items()[3]
	if bad.Key.Name != "reviews" || bad.Object != nil || len(bad.Problems) != 1 {
		t.Fatalf("bad item: %+v", bad)
	}
	want := `Error [IST0106] (VirtualService default/reviews in.yaml:30:5 spec.http[0].timeuot) unknown field "timeuot". Did you mean "timeout"?`
	if got := bad.Problems[0].String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDocumentsKeepTheirBytes(t *testing.T) {
	text := "%YAML 1.2\n---\n" + reviews + "---\r\n" + reviews + "...\n--- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n"
	d := decode(t, text)
	if err := d.Problems().Err(); err != nil || len(d.Documents) != 3 {
		t.Fatal(len(d.Documents), err)
	}
	for i := range 2 {
		if doc := d.Documents[i]; text[doc.Start:doc.End] != reviews {
			t.Errorf("document %d is %q", i, text[doc.Start:doc.End])
		}
	}
	if d.Objects()[2].Key.String() != "Namespace/n" {
		t.Error(d.Objects()[2].Key)
	}
}

// TestDecodeGolden holds what is said about each file of testdata/decode: the
// objects and the problems. Refresh with UPDATE=1.
func TestDecodeGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/decode/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d := config.Decode(data, config.DecodeOptions{File: filepath.Base(file)})
			var got strings.Builder
			for _, item := range d.Items() {
				switch {
				case item.Object != nil:
					y, err := item.Object.YAML()
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprintf(&got, "ok %s at %s\n%s", item.Object.Key, item.Object.Origin, y)
				default:
					fmt.Fprintf(&got, "no %s\n", item.Ref)
				}
				for _, p := range item.Problems {
					fmt.Fprintln(&got, p)
				}
			}
			for _, p := range d.FileProblems {
				fmt.Fprintln(&got, p)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", got.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestRoundTrip: what YAML writes, Decode reads as the same object.
func TestRoundTrip(t *testing.T) {
	for _, o := range decode(t, reviews+"---\n"+service).Objects() {
		y, err := o.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again := decode(t, string(y))
		if err := again.Problems().Err(); err != nil {
			t.Fatal(err)
		}
		p := again.Objects()[0]
		if !o.SameContent(p) || o.ContentHash() != p.ContentHash() {
			t.Errorf("%s changed:\n%s", o.Key, y)
		}
	}
}

const service = `
apiVersion: v1
kind: Service
metadata: {name: s, namespace: n, annotations: {"yes": "on", "n": "1.0"}}
spec:
  selector: {app: s}
  ports:
  - {name: http, port: 80, targetPort: 8080, appProtocol: http}
  - {name: tcp-x, port: 81, targetPort: web, protocol: TCP}
  - {name: tcp-y, port: 82}
`

func TestServicePorts(t *testing.T) {
	s := config.As[*config.ServiceSpec](decode(t, service).Objects()[0])
	for i, want := range []string{"8080", "web", "82"} {
		if got := s.Ports[i].Target().String(); got != want {
			t.Errorf("port %d leads to %s, want %s", i, got, want)
		}
	}
}

func TestHostileInput(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10))
	}
	envoyFilter := "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: e}\nspec:\n  configPatches:\n  - patch:\n      value:\n"
	for name, text := range map[string]string{
		"anchors": envoyFilter + "        " + strings.ReplaceAll(strings.TrimSpace(bomb), "\n", "\n        "),
		"cycle":   envoyFilter + "        a: &a\n          b: *a\n",
		"deep":    envoyFilter + "        a: " + strings.Repeat("[", 500) + strings.Repeat("]", 500) + "\n",
		"huge":    envoyFilter + "# " + strings.Repeat("x", config.MaxDocumentBytes),
		"binary":  "apiVersion: v1\x00",
		"latin1":  "a: \xe9",
		"merge":   "a: &a {<<: *a}\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := decode(t, text)
			if ps := d.Problems(); !ps.HasErrors() || len(ps) > 5 || len(d.Objects()) > 0 {
				t.Errorf("%d objects, problems: %v", len(d.Objects()), ps)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(reviews + "---\n" + service))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [&x {apiVersion: v1, kind: Namespace, metadata: {name: n}}, *x]"))
	f.Add([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |-\n    trustDomain: x\n"))
	f.Add([]byte("trustDomain: x\n<<: {rootNamespace: y}\n"))
	files, _ := filepath.Glob("testdata/decode/*.yaml")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := config.Decode(data, config.DecodeOptions{File: "f"})
		end := 0
		for _, doc := range d.Documents {
			if doc.Start < end || doc.End < doc.Start || doc.End > len(data) {
				t.Fatalf("document at %d to %d after %d", doc.Start, doc.End, end)
			}
			end = doc.End
			for _, item := range doc.Items {
				if (item.Object == nil) != (item.Ignored || item.Problems.HasErrors()) {
					t.Fatalf("item %v: object %v, problems %v", item.Ref, item.Object, item.Problems)
				}
				if item.Object == nil {
					continue
				}
				y, err := item.Object.YAML()
				if err != nil {
					t.Fatal(err)
				}
				again := config.Decode(y, config.DecodeOptions{File: "f"})
				if os := again.Objects(); len(os) != 1 || !os[0].SameContent(item.Object) {
					t.Fatalf("%v isn't the same after a round trip:\n%s\n%v", item.Ref, y, again.Problems())
				}
			}
		}
	})
}

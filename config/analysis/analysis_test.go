package analysis_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/analysis"
	"lateen.dev/lateen/config/validation"
)

// TestGolden analyzes each file of testdata, named after a code; objects named
// "good…" show what isn't complained about. Refresh with UPDATE=1.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			var got strings.Builder
			for _, p := range analysis.Analyze(read(t, file)) {
				// What isn't supported has a file of its own.
				if p.Code == config.CodeNotSupported.ID && !strings.Contains(file, p.Code) {
					continue
				}
				if strings.HasPrefix(p.Object.Name, "good") {
					t.Errorf("%s", p)
				}
				if p.Position.Line == 0 {
					t.Errorf("no place: %s", p)
				}
				fmt.Fprintln(&got, p)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func read(t *testing.T, file string) []*config.Object {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := config.Decode(data, config.DecodeOptions{File: filepath.Base(file)})
	ps := d.Problems()
	for _, o := range d.Objects() {
		ps = append(ps, validation.Validate(o)...)
	}
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return d.Objects()
}

func FuzzAnalyze(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var good []*config.Object
		for _, o := range config.Decode(data, config.DecodeOptions{File: "f"}).Objects() {
			if !validation.Validate(o).HasErrors() {
				good = append(good, o)
			}
		}
		analysis.Analyze(good)
	})
}

// BenchmarkAnalyze is a mesh of 1000 services, each with a route, a rule and
// two workloads.
func BenchmarkAnalyze(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, `---
{apiVersion: v1, kind: Service, metadata: {name: s%[1]d}, spec: {ports: [{name: http, port: 80}], selector: {app: s%[1]d}}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: s%[1]d}, spec: {hosts: [s%[1]d], http: [{route: [{destination: {host: s%[1]d, subset: v1}}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: s%[1]d}, spec: {host: s%[1]d, subsets: [{name: v1, labels: {version: v1}}]}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: s%[1]d}, spec: {address: 10.0.0.1, labels: {app: s%[1]d, version: v1}}}
---
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: s%[1]d}, spec: {workloadSelector: {labels: {app: s%[1]d}}, egress: [{hosts: ["./*"]}]}}
`, i)
	}
	objects := config.Decode([]byte(text.String()), config.DecodeOptions{File: "b"}).Objects()
	for b.Loop() {
		if ps := analysis.Analyze(objects); len(ps) > 0 {
			b.Fatal(ps[0])
		}
	}
}

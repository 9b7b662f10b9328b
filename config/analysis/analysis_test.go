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

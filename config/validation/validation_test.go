package validation_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/mesh"
	"lateen.dev/lateen/config/validation"
)

// TestGolden holds what is said about each file of testdata. Refresh with UPDATE=1.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			var got strings.Builder
			for _, p := range problems(t, file) {
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

func problems(t *testing.T, file string) config.Problems {
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
	return ps
}

func TestEveryProblemHasAPlace(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		for _, p := range problems(t, file) {
			if p.Position.Line == 0 || p.Object.Name == "" || p.Field == "" || p.Message == "" {
				t.Errorf("incomplete: %+v", p)
			}
		}
	}
}

func TestDefaultMeshIsValid(t *testing.T) {
	if ps := validation.Mesh(mesh.Default()); len(ps) > 0 {
		t.Error(ps)
	}
}

func FuzzValidate(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, doc := range strings.Split(string(data), "---\n") {
			f.Add([]byte(doc))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, o := range config.Decode(data, config.DecodeOptions{File: "f"}).Objects() {
			validation.Validate(o)
		}
	})
}

package translate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGolden translates each scenario and compares what it shows with the golden file beside it.
func TestGolden(t *testing.T) {
	for _, file := range scenarios(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			s := readScenario(t, file)
			got := s.print(t, stateOf(t, s))
			golden := strings.TrimSuffix(file, ".yaml") + ".golden.yaml"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v; run the test with -update", err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("differs from %s (-want +got):\n%s", golden, d)
			}
		})
	}
}

package script

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lateen.dev/lateen/test/kit"
)

func TestMain(m *testing.M) {
	code, run := kit.Main()
	if run {
		code = m.Run()
	}
	os.Exit(code)
}

// TestScripts runs every script in every mode.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		s, err := Read(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			t.Parallel()
			for _, m := range Modes() {
				t.Run(m.Name, func(t *testing.T) {
					if reason, out := s.Without[m.Name]; out {
						t.Logf("not in mode %s: %s", m.Name, reason)
						return
					}
					Run(t, s, m)
				})
			}
		})
	}
}

package analysis_test

import (
	"os"
	"path/filepath"
	"testing"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/analysis"
	"lateen.dev/lateen/config/validation"
)

// TestSamples: the YAML that we ship is free of errors, each file by itself and
// together with what it builds on.
func TestSamples(t *testing.T) {
	const dir = "../../samples/bookinfo/"
	base := []string{dir + "services.yaml", dir + "networking/bookinfo-gateway.yaml", dir + "networking/destination-rule-all.yaml"}
	files, err := filepath.Glob(dir + "networking/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			objects := map[config.Key]*config.Object{}
			for _, f := range append(base, file) {
				data, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				d := config.Decode(data, config.DecodeOptions{File: f})
				ps := d.Problems()
				for _, o := range d.Objects() {
					ps = append(ps, validation.Validate(o)...)
					objects[o.Key] = o
				}
				if err := ps.Err(); err != nil {
					t.Error(err)
				}
			}
			var all []*config.Object
			for _, o := range objects {
				all = append(all, o)
			}
			for _, p := range analysis.Analyze(all).AtLeast(config.Warning) {
				t.Error(p)
			}
		})
	}
}

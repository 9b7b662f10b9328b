package bookinfo

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// object is what the test reads of the sample's YAML.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		Host    string
		Hosts   []string
		Subsets []struct{ Name string }
		HTTP    []struct {
			Route  []struct{ Destination destination }
			Mirror *destination
		}
	}
}

type destination struct{ Host, Subset string }

func readYAML(t *testing.T, path string) []object {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []object
	for d := yaml.NewDecoder(f); ; {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if o.Kind == "" || o.Metadata.Name == "" {
			t.Errorf("%s: an object without kind or name", path)
		}
		all = append(all, o)
	}
}

// TestYAMLFitsTogether: every route leads to a service that is there, and to a
// subset that destination-rule-all.yaml has.
func TestYAMLFitsTogether(t *testing.T) {
	subsets := map[string][]string{}
	for _, o := range readYAML(t, "services.yaml") {
		if o.Kind == "Service" {
			subsets[o.Metadata.Name] = []string{""}
		}
	}
	if len(subsets) != 4 {
		t.Errorf("%d services", len(subsets))
	}
	for _, o := range readYAML(t, "networking/destination-rule-all.yaml") {
		for _, s := range o.Spec.Subsets {
			subsets[o.Spec.Host] = append(subsets[o.Spec.Host], s.Name)
		}
	}
	files, err := filepath.Glob("networking/*.yaml")
	if err != nil || len(files) < 11 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		for _, o := range readYAML(t, file) {
			for _, rule := range o.Spec.HTTP {
				var to []destination
				for _, r := range rule.Route {
					to = append(to, r.Destination)
				}
				if rule.Mirror != nil {
					to = append(to, *rule.Mirror)
				}
				for _, d := range to {
					if !slices.Contains(subsets[d.Host], d.Subset) {
						t.Errorf("%s: %s %s leads to %s, subset %q, which is not there", file, o.Kind, o.Metadata.Name, d.Host, d.Subset)
					}
				}
			}
		}
	}
}

package analysis_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/analysis"
)

// TestSetAgreesWithAnalyze puts all test files' objects in and out of one Set in
// random order. What it says, of everything and about some objects, must be what
// an analysis from scratch says.
func TestSetAgreesWithAnalyze(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	var all []*config.Object
	for i, file := range files {
		for _, o := range read(t, file) {
			all = append(all, o)
			if i%3 == 0 { // another one of the same name, with a file of its own
				twin := *o
				twin.Labels = map[string]string{"twin": "true"}
				twin.Origin.File = "twin.yaml"
				all = append(all, &twin)
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	set, live := analysis.NewSet(nil), map[config.Key]*config.Object{}
	for step := range 600 {
		o := all[r.IntN(len(all))]
		if live[o.Key] != nil && r.IntN(3) == 0 {
			set.Delete(o.Key)
			delete(live, o.Key)
		} else {
			set.Put(o)
			live[o.Key] = o
		}
		if step%7 != 0 {
			continue
		}
		compare(t, fmt.Sprint("step ", step), analysis.Analyze(values(live)), set.Analyze())
		some := map[config.Key]*config.Object{}
		for range 1 + r.IntN(4) {
			o := all[r.IntN(len(all))]
			some[o.Key] = o
		}
		with := map[config.Key]*config.Object{}
		for _, m := range []map[config.Key]*config.Object{live, some} {
			for k, o := range m {
				with[k] = o
			}
		}
		want := analysis.Analyze(values(with))
		want = slices.DeleteFunc(want, func(p config.Problem) bool {
			return !slices.ContainsFunc(values(some), func(o *config.Object) bool { return o.Ref() == p.Object })
		})
		compare(t, fmt.Sprint("about, step ", step), want, set.About(values(some)))
	}
}

func compare(t *testing.T, when string, want, got config.Problems) {
	t.Helper()
	if len(want)+len(got) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", when, diff)
	}
}

func values(m map[config.Key]*config.Object) []*config.Object {
	var list []*config.Object
	for _, o := range m {
		list = append(list, o)
	}
	return list
}

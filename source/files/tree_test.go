package files_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/files"
)

// vs is a VirtualService whose content depends on version.
func vs(name string, version int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec:
  hosts: [%s]
  http:
  - route: [{destination: {host: reviews, subset: v%d}}]
`, name, name, version)
}

// describe puts changes on a line: "+name@generation" or "-name".
func describe(changes []source.Change) string {
	var parts []string
	for _, c := range changes {
		if c.Object == nil {
			parts = append(parts, "-"+c.Key.Name)
			continue
		}
		parts = append(parts, fmt.Sprintf("+%s@%d %s", c.Key.Name, c.Object.Generation, c.Object.Origin.Position))
	}
	return strings.Join(parts, ", ")
}

func TestTree(t *testing.T) {
	tree := files.NewTree("file")
	bad := strings.Replace(vs("a", 3), "hosts", "hots", 1)
	for i, step := range []struct {
		contents []files.Content
		changes  string
		problems int
	}{
		{[]files.Content{text("1.yaml", vs("a", 1)+"---\n"+vs("b", 1))}, "+a@1 1.yaml:1:1, +b@1 1.yaml:9:1", 0},
		{[]files.Content{text("1.yaml", vs("a", 1)+"---\n"+vs("b", 1))}, "", 0},
		{[]files.Content{text("1.yaml", vs("a", 2)+"---\n"+vs("b", 1))}, "+a@2 1.yaml:1:1", 0},
		// Moved in the file, unchanged in content.
		{[]files.Content{text("1.yaml", "#\n"+vs("a", 2)+"---\n"+vs("b", 1))}, "+a@2 1.yaml:2:1, +b@1 1.yaml:10:1", 0},
		// A document that is invalid but says which object it is.
		{[]files.Content{text("1.yaml", bad+"---\n"+vs("b", 2))}, "+b@2 1.yaml:9:1", 1},
		// One that doesn't say it: whatever the file had and hasn't any more, stays.
		{[]files.Content{text("1.yaml", "{{{\n---\n"+vs("b", 2))}, "+b@2 1.yaml:3:1", 1},
		{[]files.Content{text("1.yaml", vs("b", 2))}, "-a, +b@2 1.yaml:1:1", 0},
		// Two files with the same object: the first path has it.
		{[]files.Content{text("0.yaml", vs("b", 9))}, "+b@3 0.yaml:1:1", 1},
		{[]files.Content{{Path: "0.yaml", Gone: true}}, "+b@4 1.yaml:1:1", 0},
		{[]files.Content{{Path: "1.yaml", Err: errors.New("permission denied")}}, "", 1},
		// Renamed: never gone.
		{[]files.Content{{Path: "1.yaml", Gone: true}, text("2.yaml", vs("b", 2))}, "+b@4 2.yaml:1:1", 0},
		{[]files.Content{text("2.yaml", vs("b", 2)+"---\n"+vs("b", 3))}, "", 1},
		{[]files.Content{text("2.yaml", "\xff")}, "", 1},
		{[]files.Content{text("2.yaml", "")}, "-b", 0},
	} {
		if diff := cmp.Diff(step.changes, describe(tree.Update(step.contents))); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		if ps := tree.Problems(); len(ps) != step.problems {
			t.Errorf("step %d: problems %v", i, ps)
		}
	}
	if left := tree.Objects(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func text(path, data string) files.Content { return files.Content{Path: path, Data: []byte(data)} }

// TestTreeKeepsPublishedObjects: an object that was handed on isn't altered
// when it becomes live again.
func TestTreeKeepsPublishedObjects(t *testing.T) {
	tree := files.NewTree("file")
	first := tree.Update([]files.Content{text("b.yaml", vs("x", 1))})[0].Object
	before := *first
	tree.Update([]files.Content{text("a.yaml", vs("x", 2))})
	tree.Update([]files.Content{text("a.yaml", vs("x", 3))})
	again := tree.Update([]files.Content{{Path: "a.yaml", Gone: true}})[0].Object
	if first.Generation != before.Generation || again == first || again.Generation != 4 {
		t.Errorf("first has generation %d, later %d", first.Generation, again.Generation)
	}
	if tree.Object(config.Key{Kind: config.VirtualService, Namespace: "default", Name: "x"}) != again {
		t.Error("another object is live")
	}
}

// TestTreeRemembersDocuments: whether a document is read again or known from
// before doesn't show: all is as if the file were new, down to the fields' places.
func TestTreeRemembersDocuments(t *testing.T) {
	tree := files.NewTree("file")
	odd := strings.Replace(vs("odd", 1), "route:", "rout:", 1)
	for i, data := range []string{
		vs("a", 1) + "---\n" + vs("b", 1),
		"# one\n# two\n" + vs("a", 1) + "---\n" + odd + "---\n" + vs("b", 1),
		vs("c", 1) + "---\n" + vs("a", 1) + "---\n" + vs("a", 1) + "---\n" + odd,
		odd + "---\n" + vs("b", 2) + "---\n" + vs("a", 1) + "---\n" + vs("c", 1),
	} {
		tree.Update([]files.Content{text("1.yaml", data)})
		fresh := files.NewTree("file")
		fresh.Update([]files.Content{text("1.yaml", data)})
		if diff := cmp.Diff(fresh.Problems(), tree.Problems()); diff != "" {
			t.Errorf("step %d: problems (-want +got):\n%s", i, diff)
		}
		for _, want := range fresh.Objects() {
			got := tree.Object(want.Key)
			if got == nil || !got.Equal(want) || got.ResourceVersion != want.ResourceVersion {
				t.Errorf("step %d: %v is %v", i, want, got)
				continue
			}
			for _, field := range []string{"metadata.name", "spec.http[0].route", "spec.hosts[0]"} {
				if got, want := got.Origin.At(field), want.Origin.At(field); got != want {
					t.Errorf("step %d: %s of %s at %s, want %s", i, field, want, got, want)
				}
			}
		}
		if len(fresh.Objects()) != len(tree.Objects()) {
			t.Errorf("step %d: %d objects", i, len(tree.Objects()))
		}
	}
}

// BenchmarkChangeInLargeFile changes one of 500 documents of a file.
func BenchmarkChangeInLargeFile(b *testing.B) {
	var rest strings.Builder
	for i := range 500 {
		rest.WriteString("---\n" + vs(fmt.Sprint("x", i), 1))
	}
	tree := files.NewTree("file")
	round := 0
	for b.Loop() {
		round++
		tree.Update([]files.Content{text("1.yaml", vs("a", round)+rest.String())})
	}
}

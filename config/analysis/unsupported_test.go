package analysis

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"lateen.dev/lateen/config"
)

// TestNothingIsIgnoredInSilence looks for fields of the APIs that neither any of
// the rooms which put configuration into effect mentions, nor the tables of what
// isn't supported. A field in the tables that is put into effect shows in the
// scenario that proves it: nobody would write one with a warning.
func TestNothingIsIgnoredInSilence(t *testing.T) {
	mentioned := identifiers(t, "world", "model", "translate", "source", "app", "ca")
	roots := []proto.Message{&meshconfig.MeshConfig{}}
	for _, kind := range config.Kinds() {
		if m, ok := kind.NewSpec().(proto.Message); ok {
			roots = append(roots, m)
		}
	}
	seen := map[protoreflect.FullName]bool{}
	for _, name := range elsewhere {
		seen[name], mentioned[plain(string(name.Name()))] = true, true
	}
	for _, m := range roots {
		eachField(m.ProtoReflect().Descriptor(), seen, func(fd protoreflect.FieldDescriptor) {
			if !mentioned[plain(string(fd.Name()))] {
				t.Errorf("%s is neither put into effect nor listed in ignored.go", fd.FullName())
			}
		})
	}
	for name := range ignoredFields {
		if !seen[name] {
			t.Errorf("ignored.go lists the field %s, which the APIs don't have", name)
		}
	}
	for name := range ignoredMessages {
		if !seen[name] {
			t.Errorf("ignored.go lists the message %s, which the APIs don't have", name)
		}
	}
}

// elsewhere are fields and messages that are read by their text and not by name.
var elsewhere = []protoreflect.FullName{"istio.mesh.v1alpha1.ConfigSource", "istio.mesh.v1alpha1.MeshConfig.config_sources"}

// TestPage holds docs/not-supported.md to the tables. Refresh with UPDATE=1.
func TestPage(t *testing.T) {
	const page = "../../docs/not-supported.md"
	var b strings.Builder
	b.WriteString(pageHead)
	table := func(title string, rows map[protoreflect.FullName]string) {
		fmt.Fprintf(&b, "\n## %s\n\n| What | What happens instead |\n| --- | --- |\n", title)
		for _, name := range slices.Sorted(maps.Keys(rows)) {
			words := strings.Split(string(name), ".")
			fmt.Fprintf(&b, "| `%s` | %s |\n", strings.Join(words[3:], "."), rows[name])
		}
	}
	table("Kinds and groups of fields", ignoredMessages)
	table("Fields", ignoredFields)
	table("Values", ignoredValues)
	b.WriteString("\n## MeshConfig\n\nOnly these fields have an effect.\n")
	for _, name := range slices.Sorted(maps.Keys(usedFields)) {
		used := slices.Sorted(strings.FieldsSeq(usedFields[name]))
		fmt.Fprintf(&b, "\n- %s: `%s`\n", name.Name(), strings.Join(used, "`, `"))
	}
	b.WriteString("\nOf these fields only some keys have an effect.\n")
	for _, name := range slices.Sorted(maps.Keys(usedKeys)) {
		fmt.Fprintf(&b, "\n- %s.%s: `%s`\n", name.Parent().Name(), name.Name(), strings.Join(strings.Fields(usedKeys[name]), "`, `"))
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(got)); diff != "" {
		t.Errorf("the page isn't what the tables say; refresh it with UPDATE=1 (-want +got):\n%s", diff)
	}
}

const pageHead = `# What of Istio's APIs isn't put into effect

Every field is read and checked. What is listed here has no effect yet, and nothing ignores it in silence: ` + "`lateen analyze`" + `,
` + "`lateen apply`" + ` and the control plane's list of problems complain about it by name, file and line, as warning LAT0008. Names are
those of the protocol buffers: ` + "`warmup_duration_secs`" + ` is written ` + "`warmupDurationSecs`" + `.
`

// eachField calls f for each field of the message that is supposed to have an
// effect, and notes what it came across.
func eachField(md protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool, f func(protoreflect.FieldDescriptor)) {
	if seen[md.FullName()] || strings.HasPrefix(string(md.FullName()), "google.") {
		return
	}
	seen[md.FullName()] = true
	if _, whole := ignoredMessages[md.FullName()]; whole {
		return
	}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		seen[fd.FullName()] = true
		if _, ignored := ignoredField(fd); ignored {
			continue
		}
		value := fd
		if fd.IsMap() {
			value = fd.MapValue()
		}
		if inner := value.Message(); inner != nil {
			if _, whole := ignoredMessages[inner.FullName()]; whole {
				seen[inner.FullName()] = true
				continue
			}
			eachField(inner, seen, f)
		}
		f(fd)
	}
}

// identifiers are the names in the code of these rooms, tests aside.
func identifiers(t *testing.T, rooms ...string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, room := range rooms {
		err := filepath.WalkDir(filepath.Join("../..", room), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					names[plain(id.Name)] = true
					names[plain(strings.TrimPrefix(id.Name, "Get"))] = true
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func plain(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

package quickyaml

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
)

// quickTexts are read by the quick parser; the library must agree.
var quickTexts = []string{
	"a: b\n",
	"a: b # c\nb: x#y\n\n# z\nc: 'd'\n",
	"a:\n- b\n- c: d\n  e:\n  - f\n  - {g: h, 'i': [1, -2, x y, 10.0.0.1], j: {}}\n-   k\nl: m\n",
	"a: # why\n    b: true\n    \"c d\": ~x\n",
	"  a: 1\n  b: http://x:80/y?z=[1]\n  c: ^/api(.*)$\n",
	"a: {b: c, d: \"e, f\"}   # g\n",
	"- a\n", "a: 2026-11-23\nb: 1.5\nc: .5\nd: 0x1f\ne: 1_000\nf: null\ng: yes\nh: 012\ni: 1e3\nj: -1\nk: 123456789012345678901\n",
	"x/y.z-w: 5s\n'q': \"\"\n", "a: {b: http://x, c: 5%}\n", "a: []\nb: {  }\n",
}

// otherTexts are for the library alone, or errors.
var otherTexts = []string{
	"a:\n", "a: b\n c\n", "a: |\n  x\n", "a: &x b\nc: *x\n", "a: b: c\n", "a: {b, c}\n", "a: [b: c]\n", "a: {b: c,}\n", "a: 'it''s'\n",
	"a: \"\\n\"\n", "a: 'x\n  y'\n", "a: [b,\n c]\n", "a: !!str 1\n", "a:\tb\n", "- - a\n", "a: b\n- c\n", "a: 1\n  b: 2\n", "<<: {a: b}\n", "? a\n: b\n",
	"a: b:\n", "a: \"b\"c\n", "a: [b]#c\n", "a:\n   b: c\n  d: e\n", "a:\n  - b\n - c\n", "a: {b: [c}\n", "a: é\n", "a: {b: {c: d}\n", "a:\n  - b\n  c: d\n",
	"\"a\"b: c\n", "a: {b:c}\n", "a: {b : c}\n", "a: @b\n", "--- {a: b}\n", "a: - b\n",
}

func TestParser(t *testing.T) {
	for _, text := range quickTexts {
		if new(Parser).Parse(text) == nil && !strings.HasPrefix(text, "- ") && !strings.Contains(text, "~") {
			t.Errorf("left to the library:\n%s", text)
		}
		sameNodes(t, text)
	}
	for _, text := range otherTexts {
		sameNodes(t, text)
	}
	var q Parser
	for _, text := range append(quickTexts, quickTexts...) { // what is used again is as good as new
		q.Parse(text)
	}
	if diff := cmp.Diff(new(Parser).Parse("a: b\n"), q.Parse("a: b\n")); diff != "" {
		t.Error(diff)
	}
}

// parse is the library's way.
func parse(text []byte) (*yaml.Node, error) {
	var node yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&node)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return &node, err
}

// sameNodes compares the two parsers on a text that the quick one can read.
func sameNodes(t *testing.T, text string) {
	t.Helper()
	got := new(Parser).Parse(text)
	if got == nil {
		return
	}
	want, err := parse([]byte(text))
	if err != nil || want == nil {
		t.Fatalf("read what isn't YAML: %q: %v", text, err)
	}
	comments := cmpopts.IgnoreFields(yaml.Node{}, "HeadComment", "LineComment", "FootComment")
	if diff := cmp.Diff(want.Content[0], got, comments, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%q (-want +got):\n%s", text, diff)
	}
}

func FuzzParser(f *testing.F) {
	for _, text := range append(quickTexts, otherTexts...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "\n---") || strings.Contains(text, "\n...") {
			return // perhaps several documents, of which the caller makes texts of their own
		}
		sameNodes(t, text)
	})
}

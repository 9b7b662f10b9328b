package script

import (
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for line, want := range map[string][]string{
		"":                                    nil,
		"# a comment":                         nil,
		"send  from=a\tGET /x#y":              {"send", "from=a", "GET", "/x#y"},
		`expect answer="two words" failed`:    {"expect", "answer=two words", "failed"},
		`expect metric a 'x{b="c d"}' = 1`:    {"expect", "metric", "a", `x{b="c d"}`, "=", "1"},
		`send body="" header=A:"it's so" end`: {"send", "body=", "header=A:it's so", "end"},
	} {
		got, err := split(line)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
	if _, err := split(`expect answer="no end`); err == nil {
		t.Error("a quote without end was taken")
	}
}

func TestParse(t *testing.T) {
	s, err := Parse("x", []byte("modes: without envoy,memory it can't\n\n[bytes] [!memory] host a\nsend from=a GET http://b\n-- config.yaml --\na: b\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Without["envoy"] != "it can't" || s.Without["memory"] == "" || s.Without["decide"] != "" {
		t.Errorf("modes left out: %v", s.Without)
	}
	if len(s.Lines) != 2 || s.Lines[0].Number != 3 || !slices.Equal(s.Lines[0].When, []string{"bytes", "!memory"}) {
		t.Errorf("lines: %+v", s.Lines)
	}
	if s.Files["config.yaml"] != "a: b\n" {
		t.Errorf("files: %v", s.Files)
	}
	for _, bad := range []string{"modes: without nowhere because", "modes: without envoy", `expect "`} {
		if _, err := Parse("x", []byte(bad+"\n")); err == nil || !strings.Contains(err.Error(), "x:1") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

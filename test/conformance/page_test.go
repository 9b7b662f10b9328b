package conformance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const strictnessPage = "../../docs/strictness.md"

const strictnessIntro = `# Strictness

What the proxy does with bytes that two parsers may read differently, beside what Envoy 1.40 and nginx 1.22 do with the same
bytes. The page is written by ` + "`go test ./test/conformance -run TestStrictnessPage -update`" + ` from what the tests measure, and
checked by them.

Every case has one outcome: it is **rejected** (a status, or how the stream or connection ended), or **forwarded** so
that no server behind can read it differently: the head is made anew from what was understood, and chunks pass only in the one
form that everybody reads alike. The tests parse what the backend got once more, strictly. What else holds:

- One way to frame a body: a plain decimal Content-Length, or Transfer-Encoding of exactly "chunked", never both.
- CRLF ends a line and nothing else; nothing is folded; names are tokens; values hold no control character but the tab.
- The target's authority goes before Host, and the two that leave the proxy are the same.
- The HTTP/1 parser is fuzzed against net/http (` + "`wire/http1`" + `: FuzzDifferentialRequest, FuzzDifferentialResponse,
  FuzzChunks): whatever it accepts, net/http frames alike.
- A request that is answered before it was read to its end closes an HTTP/1 connection, and the answer says so.

## Where we accept what one of them rejects

`

// strictness renders the tables.
func strictness(http1, http2 []row) string {
	var b strings.Builder
	b.WriteString(strictnessIntro)
	var names []string
	for name := range laxer {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "- **%s**: %s\n", name, laxer[name])
	}
	for prefix, why := range laxerGroups {
		fmt.Fprintf(&b, "- **%s…**: %s\n", prefix, why)
	}
	for _, table := range []struct {
		title string
		rows  []row
	}{{"HTTP/1", http1}, {"HTTP/2 to an HTTP/1 server", http2}} {
		fmt.Fprintf(&b, "\n## %s\n\n| case | Lateen | Envoy | nginx |\n|---|---|---|---|\n", table.title)
		for _, r := range table.rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", cell(r.name), cell(brief(r.lateen)), cell(brief(r.envoy)), cell(brief(r.nginx)))
		}
	}
	return b.String()
}

// brief leaves out what was forwarded, which the golden files have.
func brief(outcome string) string {
	outcome = verdict(outcome)
	if told, _, ok := strings.Cut(outcome, " forwarded"); ok {
		return told + ", forwarded"
	}
	return outcome
}

func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "*", "\\*", "<", "&lt;").Replace(s)
}

// TestStrictnessPage keeps the documented outcomes the same as the measured ones.
func TestStrictnessPage(t *testing.T) {
	want := strictness(readTable(t, "testdata/smuggling-http1.golden"), readTable(t, "testdata/smuggling-http2.golden"))
	if *update {
		if err := os.WriteFile(strictnessPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(strictnessPage)
	if err != nil || string(have) != want {
		t.Errorf("%s is not what was measured; -update writes it: %v", strictnessPage, err)
	}
}

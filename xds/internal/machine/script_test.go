package machine

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/xds"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// shortTypes are the names that scripts use.
var shortTypes = map[string]string{
	"CDS": xds.ClusterType, "EDS": xds.EndpointType, "LDS": xds.ListenerType, "RDS": xds.RouteType,
	"SDS": xds.SecretType, "NDS": xds.NameTableType, "ECDS": xds.ExtensionConfigType,
}

// resource reads name=version or name=version@ref+ref: the body contains the
// refs as protobuf writes strings.
func resource(typeURL, spec string) *xds.Resource {
	name, rest, _ := strings.Cut(spec, "=")
	version, refs, _ := strings.Cut(rest, "@")
	var body []byte
	for _, ref := range strings.FieldsFunc(refs, func(r rune) bool { return r == '+' }) {
		body = append(body, 0x0a, byte(len(ref)))
		body = append(body, ref...)
	}
	return xds.Received(name, typeURL, version, &anypb.Any{TypeUrl: typeURL, Value: body})
}

type script struct {
	t *testing.T
	m *Machine
	// nonces by short type of the last frame.
	nonces map[string]string
	sets   map[string]*xds.Set
	limits Limits
}

// TestScripts runs testdata/*.txt. A line beginning with > is an event:
//
//	> delta | sotw [frame=BYTES]      start a stream
//	> state REVISION TYPE: name=version@ref+ref ...   replace some types' sets
//	> sub TYPE [name...] [-name...] [name=version...]  delta request
//	> names TYPE [name...] [nonce=N]  state-of-the-world request, an ACK too
//	> ack TYPE [nonce=N]              answer the last frame (delta)
//	> nack TYPE [names=a,b] reason
//	> views                           where each type stands
//	> differences                     what it has against what it shall have
//
// The lines after it are what came out. Run with -update to rewrite them, and
// only commit what you can explain.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{t: t, nonces: map[string]string{}, sets: map[string]*xds.Set{}}
			got := s.run(string(data))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(data) {
				t.Errorf("script gives\n%s\nwant\n%s", got, data)
			}
		})
	}
}

func (s *script) run(text string) string {
	var out bytes.Buffer
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "> "):
			out.WriteString(line)
			out.WriteString(s.event(strings.Fields(line[2:])))
		case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
			out.WriteString(line)
		}
	}
	return out.String()
}

func (s *script) event(words []string) string {
	switch words[0] {
	case "delta", "sotw":
		s.limits = Limits{Names: 10, Types: 8, FrameBytes: 1 << 20}
		for _, w := range words[1:] {
			if _, err := fmt.Sscanf(w, "frame=%d", &s.limits.FrameBytes); err != nil {
				s.t.Fatalf("%s: %v", w, err)
			}
		}
		s.m = New(words[0] == "delta", s.limits, xds.NewState(0, time.Time{}))
		s.m.state = s.state(0)
		return ""
	case "state":
		return s.print(s.m.Target(s.readState(words[1:])))
	case "views":
		return s.views()
	case "differences":
		return s.differences()
	}
	return s.request(words)
}

func (s *script) state(revision uint64) *xds.State {
	var sets []*xds.Set
	for _, set := range s.sets {
		sets = append(sets, set)
	}
	return xds.NewState(revision, time.Time{}, sets...)
}

func (s *script) readState(words []string) *xds.State {
	var revision uint64
	if _, err := fmt.Sscan(words[0], &revision); err != nil {
		s.t.Fatal(err)
	}
	var url string
	var list []*xds.Resource
	flush := func() {
		if url != "" {
			s.sets[url] = xds.NewSet(url, list)
		}
		list = nil
	}
	for _, w := range words[1:] {
		if short, ok := strings.CutSuffix(w, ":"); ok {
			flush()
			url = shortTypes[short]
			continue
		}
		list = append(list, resource(url, w))
	}
	flush()
	return s.state(revision)
}

func (s *script) request(words []string) string {
	short := words[1]
	r := &Request{TypeURL: shortTypes[short], Nonce: s.nonces[short]}
	args := words[2:]
	switch words[0] {
	case "sub":
		r.Nonce = ""
		for _, w := range args {
			name, version, claimed := strings.Cut(w, "=")
			switch {
			case claimed:
				if r.Initial == nil {
					r.Initial = map[string]string{}
				}
				r.Initial[name] = version
			case strings.HasPrefix(w, "-"):
				r.Unsubscribe = append(r.Unsubscribe, w[1:])
			default:
				r.Subscribe = append(r.Subscribe, w)
			}
		}
	case "names", "ack", "nack":
		for i, w := range args {
			if nonce, ok := strings.CutPrefix(w, "nonce="); ok {
				r.Nonce = nonce
			} else if names, ok := strings.CutPrefix(w, "names="); ok {
				r.Names = strings.Split(names, ",")
			} else if words[0] == "nack" {
				r.Refused, r.Reason = true, strings.Join(args[i:], " ")
				break
			} else {
				r.Names = append(r.Names, w)
			}
		}
	default:
		s.t.Fatalf("unknown event %v", words)
	}
	out, err := s.m.Request(r)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return s.print(out)
}

func (s *script) print(out Out) string {
	var b strings.Builder
	if out.Nack != nil {
		fmt.Fprintf(&b, "refused %s %v revision %d: %s\n", xds.ShortType(out.Nack.TypeURL), out.Nack.Names, out.Nack.Revision, out.Nack.Reason)
	}
	if out.Demand != nil {
		fmt.Fprintf(&b, "demand %s %v\n", xds.ShortType(out.Demand.TypeURL), out.Demand.Names)
	}
	for _, f := range out.Frames {
		short := xds.ShortType(f.TypeURL)
		s.nonces[short] = f.Nonce
		fmt.Fprintf(&b, "%s nonce %s:", short, f.Nonce)
		for _, r := range f.Resources {
			fmt.Fprintf(&b, " %s=%s", r.Name, r.Version)
		}
		for _, name := range f.Removed {
			fmt.Fprintf(&b, " -%s", name)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (s *script) views() string {
	var b strings.Builder
	for _, v := range s.m.Views() {
		fmt.Fprintf(&b, "%s wants %d has %d", xds.ShortType(v.TypeURL), v.WantedRevision, v.AckedRevision)
		for _, r := range v.Refused {
			fmt.Fprintf(&b, " refused %s=%s", r.Name, r.Version)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "acked %d\n", s.m.Acked())
	return b.String()
}

func (s *script) differences() string {
	var b strings.Builder
	list, total := s.m.Differences(3)
	for _, d := range list {
		fmt.Fprintf(&b, "%s %s: wanted %s, has %s", xds.ShortType(d.TypeURL), d.Name, version(d.Wanted), version(d.Has))
		if d.Sent {
			b.WriteString(", sent")
		}
		if d.Refused {
			b.WriteString(", refused")
		}
		b.WriteString("\n")
	}
	if len(list) < total {
		fmt.Fprintf(&b, "and %d more\n", total-len(list))
	}
	for _, v := range s.m.Views() {
		for _, r := range v.Refused {
			fmt.Fprintf(&b, "%s %s changed after %d, refused at %d\n", xds.ShortType(v.TypeURL), r.Name, r.After, r.Revision)
		}
	}
	return b.String()
}

func version(r *xds.Resource) string {
	if r == nil {
		return "none"
	}
	return r.Version
}

// TestUnconcerned: a client that rests hears nothing of changes that it has not asked for, and is told of what it has.
func TestUnconcerned(t *testing.T) {
	state := func(revision uint64, versions map[string]string) *xds.State {
		var list []*xds.Resource
		for name, version := range versions {
			list = append(list, xds.Received(name, xds.EndpointType, version, nil))
		}
		return xds.NewState(revision, time.Time{}, xds.NewSet(xds.EndpointType, list))
	}
	m := New(true, Limits{Names: 10, Types: 10, FrameBytes: 1 << 20}, state(1, map[string]string{"a": "1", "b": "1"}))
	out, err := m.Request(&Request{TypeURL: xds.EndpointType, Subscribe: []string{"a", "later"}})
	if err != nil || len(out.Frames) != 1 {
		t.Fatal(out, err)
	}
	if out, err = m.Request(&Request{TypeURL: xds.EndpointType, Nonce: out.Frames[0].Nonce}); err != nil || len(out.Frames) != 0 {
		t.Fatal(out, err)
	}
	for i, c := range []struct {
		versions map[string]string
		sent     int
	}{
		{map[string]string{"a": "1", "b": "2"}, 0},
		{map[string]string{"a": "1", "c": "1"}, 0},
		{map[string]string{"a": "1", "c": "1", "later": "1"}, 1},
		{map[string]string{"a": "2", "c": "2", "later": "1"}, 1},
		{map[string]string{"later": "1"}, 1},
		{map[string]string{"later": "1", "b": "3"}, 0},
	} {
		next := state(uint64(i+2), c.versions)
		out := m.Target(next)
		if len(out.Frames) != c.sent || out.Same != (c.sent == 0) {
			t.Fatalf("step %d: %d frames, same %v", i, len(out.Frames), out.Same)
		}
		for _, f := range out.Frames {
			if _, err := m.Request(&Request{TypeURL: f.TypeURL, Nonce: f.Nonce}); err != nil {
				t.Fatal(err)
			}
		}
		if m.Acked() != next.Revision || m.Views()[0].Acked != next.Set(xds.EndpointType) {
			t.Errorf("step %d: acknowledged %d", i, m.Acked())
		}
	}
}

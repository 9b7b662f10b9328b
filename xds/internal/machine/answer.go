package machine

import (
	"strings"

	"lateen.dev/lateen/xds"
)

// answered takes in an ACK or NACK of the response in flight.
func (m *Machine) answered(s *subscription, r *Request) *Nack {
	f := s.inflight
	if f == nil {
		return nil
	}
	s.inflight = nil
	if !r.Refused {
		m.taken(s, f, nil)
		return nil
	}
	blamed, certain := blame(f, r.Reason)
	m.refuse(s, f, blamed, certain, r.Reason)
	return &Nack{TypeURL: s.url, Names: blamed, Reason: r.Reason, Revision: f.revision}
}

// taken notes that the client has what the response contained, apart from the
// resources in except.
func (m *Machine) taken(s *subscription, f *inflight, except map[string]struct{}) {
	if f.completes != nil && len(except) == 0 && (!s.collections || len(f.removed) == 0) {
		for _, r := range f.resources {
			s.accept(r.Name)
		}
		s.rebase(f.completes)
		if f.revision > s.ackedRevision {
			// The state may have moved on: what was asked for then is there nevertheless.
			s.ackedRevision, s.acked = f.revision, f.completes
		}
		return
	}
	for _, r := range f.resources {
		if _, refused := except[r.Name]; refused || s.overtaken(f, r.Name) {
			continue
		}
		s.accept(r.Name)
		s.put(r.Name, r)
	}
	for _, name := range f.removed {
		if !s.overtaken(f, name) {
			s.put(name, nil)
		}
	}
}

// overtaken reports whether the subscription to the name changed after the
// response was sent.
func (s *subscription) overtaken(f *inflight, name string) bool {
	_, ok := f.overtaken[name]
	if !ok && s.collections {
		_, ok = f.overtaken[xds.Collection(s.url, name)]
	}
	return ok
}

// refuse notes what the client would not take. When its words do not tell which
// resource was bad, what it has is uncertain: it is taken to have what it was
// sent, so that nothing is sent twice, and to have refused it, so that nothing
// is taken away that it may still need.
func (m *Machine) refuse(s *subscription, f *inflight, blamed []string, certain bool, reason string) {
	except := make(map[string]struct{}, len(blamed))
	for _, name := range blamed {
		except[name] = struct{}{}
	}
	for _, r := range f.resources {
		if _, ok := except[r.Name]; !ok || s.overtaken(f, r.Name) || !s.subscribed(r.Name) {
			continue
		}
		if certain {
			s.put(r.Name, s.has(r.Name))
		} else {
			s.put(r.Name, r)
		}
		s.refused[r.Name] = refusal{version: r.Version, revision: f.revision, after: s.acceptedBefore(r.Name), reason: reason}
	}
	m.taken(s, f, except)
}

// blame finds the resources that a reason names. Clients write the name into
// the text, each in its own words. certain is false when none was found, and
// then all are blamed.
func blame(f *inflight, reason string) (names []string, certain bool) {
	for _, r := range f.resources {
		if mentionsWord(reason, r.Name) {
			names = append(names, r.Name)
		}
	}
	if len(names) > 0 {
		return names, true
	}
	for _, r := range f.resources {
		names = append(names, r.Name)
	}
	return names, len(names) == 1
}

// mentionsWord reports whether text contains name and not just as a part of a
// longer name.
func mentionsWord(text, name string) bool {
	if name == "" {
		return false
	}
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(name)
		if !continuesBefore(text[:start]) && !continuesAfter(text[end:]) {
			return true
		}
		from = start + 1
	}
}

// continuesBefore and continuesAfter tell whether a name goes on beyond the
// part found. A dot or colon that ends a sentence or introduces the reason does
// not continue it.
func continuesBefore(text string) bool {
	return text != "" && strings.IndexByte(nameBytes, text[len(text)-1]) >= 0
}

func continuesAfter(text string) bool {
	if text == "" || strings.IndexByte(nameBytes, text[0]) < 0 {
		return false
	}
	if text[0] == '.' || text[0] == ':' {
		return len(text) > 1 && text[1] != ' ' && text[1] != '\n'
	}
	return true
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.|~/*:"

// refers reports whether a resource's body contains the name as a whole string
// field: preceded by its length, as protobuf writes strings at every depth.
func refers(r *xds.Resource, name string) bool {
	body := string(r.Body().GetValue())
	for from := 0; ; {
		i := strings.Index(body[from:], name)
		if i < 0 {
			return false
		}
		if endsWithLength(body[:from+i], len(name)) {
			return true
		}
		from += i + 1
	}
}

// endsWithLength reports whether prefix ends with n as a varint of one or two
// bytes, which names need.
func endsWithLength(prefix string, n int) bool {
	const low7 = 0x7f
	at := len(prefix) - 1
	switch {
	case at < 0:
		return false
	case n <= low7:
		return prefix[at] == byte(n)
	case at < 1:
		return false
	}
	return prefix[at-1] == byte(n&low7|low7+1) && prefix[at] == byte(n>>7)
}

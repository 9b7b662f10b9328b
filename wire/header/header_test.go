package header

import (
	"strings"
	"testing"
)

func TestEveryKnownNameIsFound(t *testing.T) {
	longest := 0
	for id := Other + 1; id < idCount; id++ {
		name := id.String()
		if name == "" || name != strings.ToLower(name) || !ValidName(name) {
			t.Fatalf("ID %d has the name %q", id, name)
		}
		for _, s := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := Classify([]byte(s)); got != id {
				t.Errorf("%q is classified as %v", s, got)
			}
		}
		chain := 0
		for i := known.first[hash([]byte(name))]; i != Other; i = known.next[i] {
			chain++
		}
		longest = max(longest, chain)
	}
	if longest > 4 {
		t.Errorf("a chain of the table has %d names: change the hash", longest)
	}
}

func TestUnknownNames(t *testing.T) {
	for _, s := range []string{"", "x", "hos", "hostt", "content_length", "content-lengtx", "X-Forwarded-Fo", "end-user", "~host"} {
		if id := Classify([]byte(s)); id != Other {
			t.Errorf("%q is classified as %v", s, id)
		}
	}
}

func FuzzClassify(f *testing.F) {
	f.Add("Host")
	f.Add("x-forwarded-for")
	f.Add("content\rlength")
	f.Fuzz(func(t *testing.T, name string) {
		id := Classify([]byte(name))
		if ValidName(name) && (id != Other) != (strings.EqualFold(name, id.String()) && id != Other) {
			t.Fatalf("%q is classified as %v", name, id)
		}
	})
}

func text(l *List) string {
	var b strings.Builder
	for i := range l.Fields {
		if f := &l.Fields[i]; !f.Removed {
			b.WriteString(string(f.Name) + "=" + string(f.Value) + ";")
		}
	}
	return b.String()
}

func TestListOperations(t *testing.T) {
	endUser := NewName("End-User")
	var l List
	l.Add([]byte("Host"), []byte("a"))
	l.Add([]byte("End-USER"), []byte("jason"))
	l.Add([]byte("Via"), []byte("1"))
	l.Add([]byte("end-user"), []byte("other"))
	l.Add([]byte("VIA"), nil)
	if string(l.Value(endUser)) != "jason" || string(l.Get(Host)) != "a" || l.Get(Cookie) != nil || l.Has(Cookie) {
		t.Error("lookups are wrong")
	}
	if got := string(l.Combined(nil, endUser)); got != "jason,other" {
		t.Errorf("combined %q", got)
	}
	if got := string(l.Combined(nil, NewName("via"))); got != "1," {
		t.Errorf("combined %q", got)
	}
	l.Remove(Via)
	if l.Has(Via) || l.Get(Via) != nil || l.RemoveName(NewName("via")) {
		t.Error("removed field is found")
	}
	l.AddKnown(Via, []byte("2"))
	if string(l.Get(Via)) != "2" {
		t.Error("field added after removal isn't found")
	}
	l.Set(endUser, []byte("x"))
	l.Set(NewName("X-New"), []byte("y"))
	l.SetKnown(Host, []byte("b"))
	if got := text(&l); got != "Host=b;End-USER=x;via=2;x-new=y;" {
		t.Errorf("list is %q", got)
	}
	n := len(l.Fields)
	l.AddKnown(Cookie, []byte("c"))
	l.Truncate(n)
	if l.Has(Cookie) || len(l.Fields) != n || !l.Has(Via) {
		t.Error("truncation is wrong")
	}
	l.Reset()
	if l.Has(Host) || l.First(endUser) != -1 || len(l.Fields) != 0 {
		t.Error("reset leaves something")
	}
}

func TestEmptyValueIsPresent(t *testing.T) {
	var l List
	l.Add([]byte("Accept"), nil)
	l.Add([]byte("X"), nil)
	if l.Get(Accept) == nil || l.Value(NewName("x")) == nil || l.Value(NewName("y")) != nil {
		t.Error("an empty field isn't told from a missing one")
	}
}

func TestTokens(t *testing.T) {
	if !HasToken([]byte("keep-alive ,\tUpgrade"), "upgrade") || HasToken([]byte("upgraded, xupgrade"), "upgrade") {
		t.Error("HasToken is wrong")
	}
	for _, tt := range []struct {
		v  string
		ok bool
	}{{"", true}, {"a b\tc", true}, {"\xff", true}, {" a", false}, {"a\t", false}, {"a\r\nb", false}, {"\x00", false}, {"\x7f", false}} {
		if ValidValue(tt.v) != tt.ok {
			t.Errorf("ValidValue(%q) is %v", tt.v, !tt.ok)
		}
	}
}

func TestLookupsDontAllocate(t *testing.T) {
	var l List
	name, value := []byte("End-User"), []byte("jason")
	endUser := NewName("end-user")
	if n := testing.AllocsPerRun(100, func() {
		l.Reset()
		l.Add(name, value)
		l.AddKnown(Host, value)
		l.Set(endUser, value)
		l.Value(endUser)
		l.Remove(Host)
		l.Get(Host)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

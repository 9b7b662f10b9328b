package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source/api"
)

func entryOf(i int) record {
	return record{hash: fmt.Sprint(i), Entry: api.Entry{
		Revision: uint64(i), Action: api.Configured, Via: "apply", Body: json.RawMessage(`{}`),
		Key: config.Key{Kind: config.VirtualService, Namespace: "default", Name: fmt.Sprint("n", i%3)},
	}}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	l, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.rotateAt = 500
	for i := 1; i <= 60; i++ {
		if err := l.append([]record{entryOf(i)}); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if len(files) != keepFiles+1 {
		t.Errorf("files %v", files)
	}
	all, err := l.read(0, 1000)
	if err != nil || len(all.Entries) == 60 || all.Entries[0].Revision != all.Oldest || all.Entries[len(all.Entries)-1].Revision != 60 {
		t.Errorf("%d entries from %d, error %v", len(all.Entries), all.Oldest, err)
	}
	for i, e := range all.Entries {
		if e.Revision != all.Oldest+uint64(i) {
			t.Errorf("entry %d has revision %d", i, e.Revision)
		}
	}
	if part, err := l.read(58, 1000); err != nil || len(part.Entries) != 2 || part.Oldest != all.Oldest {
		t.Errorf("part: %+v, error %v", part, err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	// The state survives though its entries are gone, and a crash right after
	// a rotation loses nothing.
	if err := os.Rename(filepath.Join(dir, currentLog), filepath.Join(dir, fmt.Sprintf("changes-%020d.jsonl", 60))); err != nil {
		t.Fatal(err)
	}
	l, err = openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.keys()) != 3 || l.lastRevision() != 60 {
		t.Errorf("keys %v, revision %d", l.keys(), l.lastRevision())
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamageInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, currentLog), []byte("not ours\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v", err)
	}
}

func FuzzEachLine(f *testing.F) {
	f.Add([]byte(`{"revision":1,"key":"VirtualService/a/b","action":"created"}` + "\n"))
	f.Add([]byte(`{"state":{"VirtualService/a/b":"x"},"at":7}` + "\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		end, _ := eachLine(bytes.NewReader(data), func(line) bool { return true })
		if end < 0 || end > int64(len(data)) {
			t.Fatalf("end %d of %d", end, len(data))
		}
	})
}

// FuzzDocuments: whatever a file holds, putting and dropping one document
// leaves the others' objects alone.
func FuzzDocuments(f *testing.F) {
	ns := "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n"
	for _, s := range []string{"", "# only a comment", fmt.Sprintf(ns, "a"), fmt.Sprintf(ns+"---\n"+ns, "a", "target"),
		"--- {apiVersion: v1, kind: Namespace, metadata: {name: target}}\n...\n" + fmt.Sprintf(ns, "b"), "{{{\n---\n" + fmt.Sprintf(ns, "target"),
		"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: target}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: x}}\n"} {
		f.Add([]byte(s))
	}
	text := []byte(fmt.Sprintf(ns, "target"))
	o := decode(text).Objects()[0]
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(decode(data).FileProblems) > 0 {
			return
		}
		before := rest(data, o.Key)
		put, err := putDocument(data, o, text)
		if err != nil {
			return
		}
		if got := rest(put, o.Key); got != before {
			t.Fatalf("put changed the others from %q to %q:\n%q\n%q", before, got, data, put)
		}
		if !stored(put, o) {
			t.Fatalf("put isn't there:\n%q\n%q", data, put)
		}
		left, found, err := dropDocument(put, o.Key)
		if err != nil {
			return
		}
		if got := rest(left, o.Key); !found || got != before || stored(left, o) {
			t.Fatalf("drop left %q of %q, found %v", got, before, found)
		}
	})
}

func rest(data []byte, key config.Key) string {
	var names []string
	for _, o := range decode(data).Objects() {
		if o.Key != key {
			names = append(names, o.Key.String()+" "+o.ContentHash())
		}
	}
	return strings.Join(names, ", ")
}

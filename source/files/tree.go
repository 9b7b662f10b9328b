package files

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/validation"
	"lateen.dev/lateen/source"
)

// Tree turns the contents of files into live objects. It is a plain state
// machine without I/O; its owner serialises the calls.
//
// An object belongs to the file that holds it. When several files hold the same
// object, the one whose path sorts first has it, and the others are complained
// about.
type Tree struct {
	origin string // Origin.Source of the objects
	// remembered tells what a file held when it was last good, for files that
	// are broken when they are first seen. It may be nil.
	remembered func(path string) []*config.Object
	files      map[string]*file
	live       map[config.Key]*config.Object
	// holders lists the files that hold a key, sorted.
	holders map[config.Key][]string
	// contested are the keys that several files hold.
	contested map[config.Key]bool
}

// file is what is known of one file.
type file struct {
	objects   map[config.Key]*config.Object // good, or the last good version
	problems  config.Problems
	documents documents
}

// NewTree makes an empty Tree. origin becomes its objects' Origin.Source.
func NewTree(origin string) *Tree {
	return &Tree{origin: origin, files: map[string]*file{}, live: map[config.Key]*config.Object{}, holders: map[config.Key][]string{}, contested: map[config.Key]bool{}}
}

// Content is a file's new content.
type Content struct {
	// Path identifies the file and stands in positions.
	Path string
	Data []byte
	// Gone says that the file no longer exists.
	Gone bool
	// Err says that it exists but can't be read; what it held stays live.
	Err error
	// Dropped are objects that were taken out on purpose: they don't stay live,
	// whatever else is broken in the file.
	Dropped []config.Key
}

// Update takes the new contents of some files, as one step, and returns what
// changed, sorted by key.
func (t *Tree) Update(contents []Content) []source.Change {
	touched := map[config.Key]bool{}
	for i, next := range t.readAll(contents) {
		c := contents[i]
		old := t.files[c.Path]
		for _, f := range []*file{old, next} {
			if f == nil {
				continue
			}
			for key := range f.objects {
				touched[key] = true
			}
		}
		t.install(c.Path, old, next)
	}
	var changes []source.Change
	for key := range touched {
		if change, ok := t.settle(key); ok {
			changes = append(changes, change)
		}
	}
	slices.SortFunc(changes, func(a, b source.Change) int { return a.Key.Compare(b.Key) })
	return changes
}

// readAll makes files of the contents, whose paths differ, several at a time:
// decoding is most of what it takes to start with a large tree.
func (t *Tree) readAll(contents []Content) []*file {
	out := make([]*file, len(contents))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(len(contents), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(contents)); i = next.Add(1) - 1 {
				out[i] = t.read(contents[i], t.files[contents[i].Path])
			}
		})
	}
	wg.Wait()
	return out
}

// read makes a file of a content, keeping from the old file what the new one
// breaks. It returns nil when there is no file any more.
func (t *Tree) read(c Content, old *file) *file {
	if c.Gone {
		return nil
	}
	next := &file{objects: map[config.Key]*config.Object{}}
	if c.Err != nil {
		next.problems = config.Problems{unreadable(c)}
		if old == nil {
			old = t.recall(c.Path)
		}
		keep(next, old, func(config.Key) bool { return true })
		return next
	}
	d := t.decode(c, old, next)
	next.problems = d.FileProblems
	broken := map[config.Key]bool{}
	named := map[config.Key]bool{}
	lost := len(d.FileProblems) > 0 // a document is broken and nobody knows which object it was
	for _, item := range d.Items() {
		problems := item.Problems
		known := item.Key.Kind != config.UnknownKind && item.Key.Name != ""
		switch {
		case item.Ignored:
		case known && named[item.Key]:
			problems = append(problems, duplicate(item, next.objects[item.Key]))
		case problems.HasErrors():
			broken[item.Key] = known
			lost = lost || !known
		default:
			next.objects[item.Key] = item.Object
		}
		named[item.Key] = known
		next.problems = append(next.problems, problems...)
	}
	if old == nil && (lost || len(broken) > 0) {
		old = t.recall(c.Path)
	}
	keep(next, old, func(key config.Key) bool {
		return (broken[key] || lost && !named[key]) && !slices.Contains(c.Dropped, key)
	})
	return next
}

// decode reads and validates a file's documents, except those that the old file
// had too.
func (t *Tree) decode(c Content, old, next *file) config.Decoded {
	o := config.DecodeOptions{File: c.Path, Source: t.origin}
	if old != nil {
		o.Known = old.known
	}
	d := config.Decode(c.Data, o)
	next.documents = make(documents, len(d.Documents))
	for _, doc := range d.Documents {
		for i := range doc.Items {
			item := &doc.Items[i]
			if item.Object == nil || doc.Known {
				continue
			}
			item.Problems = append(item.Problems, validation.Validate(item.Object)...)
			t.versioned(item.Object)
		}
		next.documents.add(c.Data[doc.Start:doc.End], doc)
	}
	return d
}

// versioned gives an object the version of its content. It is done here, and not
// when the object becomes live, since here it is done on all cores.
func (t *Tree) versioned(o *config.Object) {
	if live := t.live[o.Key]; o.SameContent(live) {
		o.ResourceVersion = live.ResourceVersion
	} else {
		o.ResourceVersion = o.ContentHash()
	}
}

// recall makes a file of what is remembered of it, nil if nothing is.
func (t *Tree) recall(path string) *file {
	if t.remembered == nil {
		return nil
	}
	f := &file{objects: map[config.Key]*config.Object{}}
	for _, o := range t.remembered(path) {
		t.versioned(o)
		f.objects[o.Key] = o
	}
	return f
}

// keep copies objects of the old file, which the new one doesn't have, into it.
func keep(next, old *file, wanted func(config.Key) bool) {
	if old == nil {
		return
	}
	for key, object := range old.objects {
		if _, replaced := next.objects[key]; !replaced && wanted(key) {
			next.objects[key] = object
		}
	}
}

func (t *Tree) install(path string, old, next *file) {
	if old != nil {
		for key := range old.objects {
			t.holders[key] = slices.DeleteFunc(t.holders[key], func(p string) bool { return p == path })
			if len(t.holders[key]) == 0 {
				delete(t.holders, key)
			}
			if len(t.holders[key]) < 2 {
				delete(t.contested, key)
			}
		}
	}
	if next == nil {
		delete(t.files, path)
		return
	}
	t.files[path] = next
	for key := range next.objects {
		i, _ := slices.BinarySearch(t.holders[key], path)
		t.holders[key] = slices.Insert(t.holders[key], i, path)
		if len(t.holders[key]) > 1 {
			t.contested[key] = true
		}
	}
}

// settle brings live up to date for one key. An object that is equal to the
// live one doesn't replace it.
func (t *Tree) settle(key config.Key) (source.Change, bool) {
	old := t.live[key]
	holders := t.holders[key]
	if len(holders) == 0 {
		if old == nil {
			return source.Change{}, false
		}
		delete(t.live, key)
		return source.Drop(key), true
	}
	f := t.files[holders[0]]
	object := f.objects[key]
	if object == old {
		return source.Change{}, false
	}
	if old != nil && object.Equal(old) {
		f.objects[key] = old
		return source.Change{}, false
	}
	// A copy, because the object may have been live before and is immutable then.
	next := *object
	next.Generation = 1
	if old != nil {
		next.Generation = old.Generation
		if !object.SameContent(old) {
			next.Generation++
		}
	}
	f.objects[key], t.live[key] = &next, &next
	return source.Put(&next), true
}

// Objects are the live objects, sorted by key.
func (t *Tree) Objects() []*config.Object {
	return slices.SortedFunc(maps.Values(t.live), func(a, b *config.Object) int { return a.Compare(b.Key) })
}

// Count is the number of live objects.
func (t *Tree) Count() int { return len(t.live) }

// Object is the live object of a key, nil if there is none.
func (t *Tree) Object(key config.Key) *config.Object { return t.live[key] }

// Holders are the files that hold a key; the first one's version is live.
func (t *Tree) Holders(key config.Key) []string { return slices.Clone(t.holders[key]) }

// Files are the paths of all files, sorted.
func (t *Tree) Files() []string { return slices.Sorted(maps.Keys(t.files)) }

// Problems are the present complaints about all files, sorted by place.
func (t *Tree) Problems() config.Problems {
	var all config.Problems
	for _, f := range t.files {
		all = append(all, f.problems...)
	}
	for key := range t.contested {
		first := t.files[t.holders[key][0]].objects[key]
		for _, path := range t.holders[key][1:] {
			all = append(all, rival(t.files[path].objects[key], first))
		}
	}
	return all.Sorted()
}

func unreadable(c Content) config.Problem {
	code := config.CodeUnreadable
	return config.Problem{
		Severity: config.Error, Code: code.ID, Name: code.Name, Position: config.Position{File: c.Path},
		Message: "the file can't be read: " + c.Err.Error(), Hint: "Make it readable; what it held before stays live",
	}
}

// duplicate complains about a second document of the same object in a file.
// first is nil when the first one is broken.
func duplicate(item config.Item, first *config.Object) config.Problem {
	where := "above"
	if first != nil {
		where = "at " + first.Origin.String()
	}
	code := config.CodeDuplicateObject
	return config.Problem{
		Severity: config.Error, Code: code.ID, Name: code.Name, Object: item.Ref, Position: item.Position,
		Message: "the same object stands " + where + "; this one isn't used", Hint: "Remove one of the two, or rename it",
	}
}

// rival complains about an object that another file has too.
func rival(object, first *config.Object) config.Problem {
	code := config.CodeDuplicateObject
	return config.Problem{
		Severity: config.Error, Code: code.ID, Name: code.Name, Object: object.Ref(), Position: object.Origin.Position,
		Message: "the same object stands at " + cmp.Or(first.Origin.String(), "another place") + "; this one isn't used",
		Hint:    "Remove one of the two, or rename it",
	}
}

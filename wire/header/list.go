package header

// Field is one header field. Name and Value are views: into the buffer that was parsed, or into memory of whoever
// added the field, which must stay unchanged as long as the List is used.
type Field struct {
	Name, Value []byte
	ID          ID
	// Hop marks a field that concerns only the connection it came by (RFC 9110 section 7.6.1): it is found by
	// lookups, but codecs don't forward it.
	Hop bool
	// Removed marks a field that lookups and codecs pass over. Fields are marked instead of deleted, so that indexes
	// stay valid.
	Removed bool
}

// List is the header of a message in the order of its fields. Its zero value is an empty list. Reset before each
// message; the memory is reused.
type List struct {
	Fields []Field
	// first holds, for each known ID, one more than the index of the first field that has it and isn't removed.
	first [idCount]uint16
}

// MaxFields bounds the length of a List, since indexes are kept in 16 bits. Codecs have lower limits.
const MaxFields = 1<<16 - 2

// Reset empties the list. The unused part of Fields still refers to the old message's buffer, so a List that is kept
// aside should be kept together with the buffer it was parsed from.
func (l *List) Reset() {
	l.Fields = l.Fields[:0]
	l.first = [idCount]uint16{}
}

// Add appends a field and classifies its name, which must be a valid token. Nothing is checked: values that come from
// outside must be checked with ValidValue.
func (l *List) Add(name, value []byte) { l.AddID(Classify(name), name, value) }

// AddName appends a field with a prepared name.
func (l *List) AddName(name Name, value []byte) { l.AddID(name.ID, name.lower, value) }

// AddKnown appends a field with a well-known name.
func (l *List) AddKnown(id ID, value []byte) { l.AddID(id, canonicalBytes[id], value) }

// AddID appends a field whose name has been classified already.
func (l *List) AddID(id ID, name, value []byte) {
	l.Fields = append(l.Fields, Field{Name: name, Value: value, ID: id})
	if l.first[id] == 0 {
		l.first[id] = uint16(len(l.Fields))
	}
}

// canonicalBytes is canonical as slices, so that adding a known field converts nothing.
var canonicalBytes = func() (b [idCount][]byte) {
	for id, name := range canonical {
		b[id] = []byte(name)
	}
	return b
}()

// Has says whether there is a field with this ID.
func (l *List) Has(id ID) bool { return l.first[id] != 0 && id != Other }

// Get returns the value of the first field with this ID, or nil. An empty value is not nil.
func (l *List) Get(id ID) []byte {
	i := l.first[id]
	if i == 0 || id == Other {
		return nil
	}
	return present(l.Fields[i-1].Value)
}

// present makes the value of a field that is there different from nil.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// First returns the index of the first field with this name, or -1.
func (l *List) First(name Name) int {
	if name.ID != Other {
		return int(l.first[name.ID]) - 1
	}
	return l.find(0, name)
}

// Next returns the index of the next field with this name after index i, or -1.
func (l *List) Next(i int, name Name) int { return l.find(i+1, name) }

func (l *List) find(i int, name Name) int {
	for ; i < len(l.Fields); i++ {
		if l.match(i, name) {
			return i
		}
	}
	return -1
}

func (l *List) match(i int, name Name) bool {
	f := &l.Fields[i]
	if f.ID != name.ID || f.Removed {
		return false
	}
	return f.ID != Other || EqualFold(f.Name, name.lower)
}

// Value returns the value of the first field with this name, or nil. An empty value is not nil.
func (l *List) Value(name Name) []byte {
	if i := l.First(name); i >= 0 {
		return present(l.Fields[i].Value)
	}
	return nil
}

// Combined returns the values of all fields with this name, joined with commas as RFC 9110 section 5.2 has it; nil if
// there is none. With one field it is a view; with several they are joined in dst, which is overwritten.
func (l *List) Combined(dst []byte, name Name) []byte {
	i := l.First(name)
	if i < 0 {
		return nil
	}
	next := l.Next(i, name)
	if next < 0 {
		return present(l.Fields[i].Value)
	}
	dst = append(dst[:0], l.Fields[i].Value...)
	for ; next >= 0; next = l.Next(next, name) {
		dst = append(dst, ',')
		dst = append(dst, l.Fields[next].Value...)
	}
	return dst
}

// Remove marks every field with this ID as removed.
func (l *List) Remove(id ID) {
	if l.first[id] != 0 {
		l.RemoveName(Name{ID: id})
	}
}

// RemoveName marks every field with this name as removed and says whether there was one.
func (l *List) RemoveName(name Name) bool {
	i := l.First(name)
	if i < 0 {
		return false
	}
	for ; i >= 0; i = l.Next(i, name) {
		l.Fields[i].Removed = true
	}
	l.reindex(name.ID)
	return true
}

// Set replaces all fields with this name by one.
func (l *List) Set(name Name, value []byte) {
	i := l.First(name)
	if i < 0 {
		l.AddName(name, value)
		return
	}
	l.Fields[i].Value = value
	for j := l.Next(i, name); j >= 0; j = l.Next(j, name) {
		l.Fields[j].Removed = true
	}
}

// SetKnown replaces all fields with this ID by one.
func (l *List) SetKnown(id ID, value []byte) {
	l.Set(Name{ID: id, lower: canonicalBytes[id]}, value)
}

// Truncate drops the fields from index n on, which undoes additions since the list had n fields. Removals and
// replacements are not undone.
func (l *List) Truncate(n int) {
	for i := len(l.Fields) - 1; i >= n; i-- {
		id := l.Fields[i].ID
		l.Fields[i] = Field{}
		l.Fields = l.Fields[:i]
		if int(l.first[id]) == i+1 {
			l.first[id] = 0
		}
	}
}

func (l *List) reindex(id ID) {
	l.first[id] = 0
	for i := range l.Fields {
		if f := &l.Fields[i]; f.ID == id && !f.Removed {
			l.first[id] = uint16(i + 1)
			return
		}
	}
}

// ValidName says whether name is a token (RFC 9110 section 5.6.2).
func ValidName[T []byte | string](name T) bool {
	for i := 0; i < len(name); i++ {
		if !TokenByte[name[i]] {
			return false
		}
	}
	return len(name) > 0
}

// ValidValue says whether value can be a field's value: no control byte but the tab, no white space at its ends.
func ValidValue[T []byte | string](value T) bool {
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	if n := len(value); n > 0 {
		first, last := value[0], value[n-1]
		return first != ' ' && first != '\t' && last != ' ' && last != '\t'
	}
	return true
}

// TokenByte says of each byte whether it may stand in a token.
var TokenByte = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-0x20] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

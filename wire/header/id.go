package header

import (
	"encoding/binary"
	"strings"
)

// table finds the ID of a name by a hash over its length and three of its letters. Chains are short: the test of this
// file bounds them.
type table struct {
	first [256]ID
	next  [idCount]ID
}

var known = buildTable()

func buildTable() *table {
	t := &table{}
	for id := Other + 1; id < idCount; id++ {
		h := hash([]byte(canonical[id]))
		t.next[id] = t.first[h]
		t.first[h] = id
	}
	return t
}

// hash folds letters' case, and maps nothing but tokens sensibly, which is all it is given.
func hash(name []byte) uint8 {
	n := len(name)
	a, b, c := name[0]|0x20, name[n-1]|0x20, name[n/2]|0x20
	return uint8(n)*31 + a*7 + b*13 + c*3
}

// Classify returns the ID of a name, whatever its case. The name must be a valid token.
func Classify(name []byte) ID {
	if len(name) == 0 {
		return Other
	}
	for id := known.first[hash(name)]; id != Other; id = known.next[id] {
		if equalKnown(name, canonical[id]) {
			return id
		}
	}
	return Other
}

// equalKnown compares a token with a name of the table, eight bytes at a time. Setting bit 5 folds case and is exact
// here: names of the table consist of a–z, 0–9 and '-', and no other token byte becomes one of these by it.
func equalKnown(token []byte, lower string) bool {
	if len(token) != len(lower) {
		return false
	}
	const fold = 0x2020202020202020
	for len(token) >= 8 {
		if binary.LittleEndian.Uint64(token)|fold != loadString(lower) {
			return false
		}
		token, lower = token[8:], lower[8:]
	}
	for i := range token {
		if token[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// loadString reads eight bytes of s in little-endian order; the compiler makes one load of it.
func loadString(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// String returns the name in lower case, or "" for Other.
func (id ID) String() string {
	if id >= idCount {
		return ""
	}
	return canonical[id]
}

// Name is a field name prepared for lookups and for writing. Configuration is compiled to Names once; they are
// immutable and may be shared.
type Name struct {
	ID    ID
	lower []byte
}

// NewName prepares a name. It is kept in lower case.
func NewName(name string) Name {
	lower := []byte(strings.ToLower(name))
	return Name{ID: Classify(lower), lower: lower}
}

// Bytes returns the name in lower case. The caller must not change it.
func (n Name) Bytes() []byte { return n.lower }

// String returns the name in lower case.
func (n Name) String() string { return string(n.lower) }

// EqualFold says whether name, in any case, equals lower, which must be in lower case. Only ASCII letters are folded.
func EqualFold[T, U []byte | string](name T, lower U) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c-'A' < 26 {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// HasToken says whether a comma-separated list holds a token, which must be given in lower case.
func HasToken[T string | []byte](list []byte, token T) bool {
	for len(list) > 0 {
		var item []byte
		item, list = NextToken(list)
		if EqualFold(item, token) {
			return true
		}
	}
	return false
}

// NextToken splits the first element off a comma-separated list and trims the white space around it. Elements may be
// empty.
func NextToken(list []byte) (item, rest []byte) {
	item = list
	for i, c := range list {
		if c == ',' {
			item, rest = list[:i], list[i+1:]
			break
		}
	}
	return TrimSpace(item), rest
}

// TrimSpace removes spaces and tabs from both ends, which is HTTP's optional white space.
func TrimSpace(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

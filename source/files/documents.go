package files

import (
	"crypto/sha256"

	"lateen.dev/lateen/config"
)

// documents are those that a file held when it was last read, by the digest of
// their text, so that the others in a file needn't be read again when one of
// them changes.
type documents map[digest]document

type digest [16]byte

// document is what was read of one: its items with their problems, and the line
// at which it began.
type document struct {
	line  int
	items []config.Item
}

func digestOf(text []byte) digest {
	sum := sha256.Sum256(text)
	return digest(sum[:len(digest{})])
}

func (d documents) add(text []byte, doc config.Document) {
	if len(doc.Items) > 0 {
		d[digestOf(text)] = document{line: doc.Line, items: doc.Items}
	}
}

// known is config.DecodeOptions.Known for the file's next version.
func (f *file) known(text []byte, line int) []config.Item {
	doc, ok := f.documents[digestOf(text)]
	if !ok {
		return nil
	}
	items := make([]config.Item, len(doc.items))
	for i, item := range doc.items {
		if line != doc.line {
			if item, ok = item.Moved(line - doc.line); !ok {
				return nil
			}
		}
		if item.Object == nil {
			items[i] = item
			continue
		}
		// The live one is the same object with its generation.
		if live := f.objects[item.Key]; live != nil && live.ResourceVersion == item.Object.ResourceVersion && live.Origin.Equal(item.Object.Origin) {
			item.Object = live
		}
		items[i] = item
	}
	return items
}

package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"lateen.dev/lateen/config"
)

// marker begins a document.
const marker = "---\n"

// decode reads a file as it will be read when it is live.
func decode(data []byte) config.Decoded {
	return config.Decode(data, config.DecodeOptions{})
}

// putDocument returns the file's content with the object's document replaced by
// text, or appended when the file has none. All other documents keep their bytes.
func putDocument(data []byte, o *config.Object, text []byte) ([]byte, error) {
	for _, doc := range decode(data).Documents {
		if !holds(doc, o.Key) {
			continue
		}
		others, err := others(doc, o.Key)
		if err != nil {
			return nil, err
		}
		return splice(data, doc, append([][]byte{text}, others...)), nil
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return ended(text), nil
	}
	return slices.Concat(ended(data), []byte(marker), ended(text)), nil
}

// dropDocument returns the file's content without the object, and whether it
// was there. Content that is left without any object is nil.
func dropDocument(data []byte, key config.Key) ([]byte, bool, error) {
	found := false
	for {
		docs := decode(data).Documents
		i := slices.IndexFunc(docs, func(d config.Document) bool { return holds(d, key) })
		if i < 0 {
			return data, found, nil
		}
		found = true
		if len(docs) == 1 && len(docs[0].Items) == 1 {
			return nil, true, nil
		}
		others, err := others(docs[i], key)
		if err != nil {
			return nil, true, err
		}
		if len(others) > 0 {
			data = splice(data, docs[i], others)
			continue
		}
		start := docs[i].Start
		if bytes.HasSuffix(data[:start], []byte("\n")) && start > 0 {
			// The marker line before the document goes with it.
			start = bytes.LastIndexByte(data[:start-1], '\n') + 1
		}
		data = slices.Concat(data[:start], data[docs[i].End:])
	}
}

func holds(doc config.Document, key config.Key) bool {
	return slices.ContainsFunc(doc.Items, func(i config.Item) bool { return i.Key == key })
}

// others are the other objects of a List, each as a document of its own. A List
// with a part that can't be read can't be taken apart.
func others(doc config.Document, key config.Key) ([][]byte, error) {
	var texts [][]byte
	for _, item := range doc.Items {
		switch {
		case item.Key == key:
		case item.Object == nil:
			return nil, fmt.Errorf("the List at %s has other items that can't be kept: mend or remove %s first", item.Position, item.Ref)
		default:
			text, err := item.Object.YAML()
			if err != nil {
				return nil, err
			}
			texts = append(texts, text)
		}
	}
	return texts, nil
}

// splice puts texts, as documents, where doc was.
func splice(data []byte, doc config.Document, texts [][]byte) []byte {
	var middle []byte
	for i, text := range texts {
		if i > 0 || bytes.HasPrefix(data[doc.Start:doc.End], []byte("---")) {
			middle = append(middle, marker...)
		}
		middle = append(middle, ended(text)...)
	}
	return slices.Concat(data[:doc.Start], middle, data[doc.End:])
}

// ended makes sure that a text ends with its line, so that a marker can follow.
func ended(text []byte) []byte {
	if len(text) == 0 || text[len(text)-1] == '\n' {
		return text
	}
	return append(slices.Clip(text), '\n')
}

// document is the text under which an object is stored: what the user wrote,
// comments and all, when it says everything; else the object written anew.
func document(file []byte, doc config.Document, o *config.Object) ([]byte, error) {
	text := file[doc.Start:doc.End]
	if len(doc.Items) == 1 && !bytes.HasPrefix(text, []byte("---")) {
		again := decode(text).Objects()
		if len(again) == 1 && again[0].SameContent(o) {
			return text, nil
		}
	}
	return o.YAML()
}

// fileText adapts a document to the file's kind.
func fileText(path string, o *config.Object, text []byte) ([]byte, error) {
	if filepath.Ext(path) != ".json" {
		return text, nil
	}
	compact, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		return nil, fmt.Errorf("indent %s: %w", o.Key, err)
	}
	return out.Bytes(), nil
}

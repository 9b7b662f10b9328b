package config

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// common is what the objects of one file have in common: each text once, and
// each of the last mappings of texts. So objects don't hold the whole document
// that their texts stood in, and the ten endpoints of a service don't hold ten
// copies of their labels. It belongs to one goroutine.
type common struct {
	texts map[string]string
	// recent are the last mappings, next is the place of the oldest.
	recent [4]commonMap
	next   int
}

// commonMap is a mapping of texts that a field holds.
type commonMap struct {
	field   protoreflect.FieldDescriptor
	entries map[string]string
	value   protoreflect.Value
}

func newCommon() *common { return &common{texts: map[string]string{}} }

// text is s, in memory of its own.
func (c *common) text(s string) string {
	if s == "" {
		return ""
	}
	have, ok := c.texts[s]
	if !ok {
		have = strings.Clone(s)
		c.texts[have] = have
	}
	return have
}

// find is the value of an equal mapping that a field of this kind got before.
func (c *common) find(fd protoreflect.FieldDescriptor, entries map[string]any) (protoreflect.Value, bool) {
	for i := range c.recent {
		if m := &c.recent[i]; m.field == fd && m.equal(entries) {
			return m.value, true
		}
	}
	return protoreflect.Value{}, false
}

func (m *commonMap) equal(entries map[string]any) bool {
	if len(entries) != len(m.entries) {
		return false
	}
	for key, v := range entries {
		text, isText := v.(string)
		have, there := m.entries[key]
		if !isText || !there || text != have {
			return false
		}
	}
	return true
}

// note remembers a mapping in the place of the oldest.
func (c *common) note(fd protoreflect.FieldDescriptor, entries map[string]any, value protoreflect.Value) {
	own := make(map[string]string, len(entries))
	for key, v := range entries {
		text, _ := v.(string)
		own[c.text(key)] = c.text(text)
	}
	c.recent[c.next] = commonMap{field: fd, entries: own, value: value}
	c.next = (c.next + 1) % len(c.recent)
}

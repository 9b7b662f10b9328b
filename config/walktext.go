package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

func isNull(n *yaml.Node) bool {
	for depth := 0; n.Kind == yaml.AliasNode && depth < maxDepth; depth++ {
		n = n.Alias
	}
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

func numeric(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

func join(path, name string) string {
	name = short(name)
	switch {
	case path == "":
		return name
	case strings.ContainsAny(name, ".[]/"):
		return path + "[" + name + "]"
	}
	return path + "." + name
}

// describe says what the shape wants.
func (s shape) describe() string {
	switch s.class {
	case classBool:
		return "true or false"
	case classInt, classFloat:
		return "a number"
	case classDuration:
		return "a duration such as 10s"
	case classPortTarget:
		return "a port number or name"
	}
	return "text"
}

func describeNode(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "the boolean " + n.Value
	case "!!int", "!!float":
		return "the number " + n.Value
	}
	return strconv.Quote(short(n.Value))
}

// short cuts a text for a message.
func short(text string) string {
	if len(text) <= maxStep {
		return text
	}
	return strings.ToValidUTF8(text[:maxStep], "") + "…"
}

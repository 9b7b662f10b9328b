package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

// head is what must be read of a document before its kind is known.
type head struct {
	apiVersion, kind string
	namespace, name  string
}

func (h head) group() string {
	group, _, ok := strings.Cut(h.apiVersion, "/")
	if !ok {
		return ""
	}
	return group
}

func (h head) version() string {
	_, version, ok := strings.Cut(h.apiVersion, "/")
	if !ok {
		return h.apiVersion
	}
	return version
}

// head reads a document's kind and name leniently; their proper check follows
// in object. It fails only when the document can't be an object at all.
func (d decoder) head(n *yaml.Node, offset int) (head, *Item) {
	text := func(n *yaml.Node) string {
		if n == nil || n.Kind != yaml.ScalarNode || isNull(n) {
			return ""
		}
		return d.common.text(n.Value)
	}
	meta := child(n, "metadata")
	h := head{
		apiVersion: text(child(n, "apiVersion")), kind: text(child(n, "kind")),
		namespace: text(child(meta, "namespace")), name: text(child(meta, "name")),
	}
	if h.apiVersion != "" && h.kind != "" || looksLikeMeshConfig(n) {
		return h, nil
	}
	w := walker{file: d.File, offset: offset}
	missing := "kind"
	if h.kind != "" {
		missing = "apiVersion"
	}
	hint := "Every object begins with apiVersion and kind, for example apiVersion: networking.istio.io/v1"
	if kind, ok := ParseKind(h.kind); ok && missing == "apiVersion" {
		hint = "Write apiVersion: " + kind.APIVersion()
	}
	w.complain(n, missing, hint, "%s is missing", missing)
	item := Item{Ref: Ref{Kind: h.kind, Namespace: h.namespace, Name: h.name}, Position: w.position(n), Problems: w.problems}
	item.attribute()
	return h, &item
}

// document types of which the envelope of an object is checked.
type (
	// envelope is an object around its spec.
	envelope struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Metadata   metadata        `json:"metadata"`
		Spec       json.RawMessage `json:"spec"`
		Status     json.RawMessage `json:"status"`
	}
	// metadata holds the fields of Kubernetes' ObjectMeta. Those that only an
	// API server uses are accepted, since exported objects have them.
	metadata struct {
		Name              string            `json:"name"`
		Namespace         string            `json:"namespace"`
		Labels            map[string]string `json:"labels"`
		Annotations       map[string]string `json:"annotations"`
		CreationTimestamp string            `json:"creationTimestamp"`
		Generation        int64             `json:"generation"`
		ResourceVersion   string            `json:"resourceVersion"`
		UID               string            `json:"uid"`
		GenerateName      string            `json:"generateName"`
		SelfLink          string            `json:"selfLink"`
		Finalizers        json.RawMessage   `json:"finalizers"`
		OwnerReferences   json.RawMessage   `json:"ownerReferences"`
		ManagedFields     json.RawMessage   `json:"managedFields"`
		DeletionTimestamp json.RawMessage   `json:"deletionTimestamp"`
		DeletionGrace     json.RawMessage   `json:"deletionGracePeriodSeconds"`
		ClusterName       string            `json:"clusterName"`
	}
)

func (d decoder) object(n *yaml.Node, h head, offset int) Item {
	w := &walker{file: d.File, offset: offset, common: d.common}
	item := Item{Ref: Ref{Kind: h.kind, Namespace: h.namespace, Name: h.name}, Position: w.position(n)}
	kind, known := LookupKind(h.group(), h.kind)
	switch {
	case !known && IgnoredKind(h.group(), h.kind):
		item.Ignored = true
		item.Problems = Problems{{
			Severity: Info, Code: CodeIgnoredKind.ID, Name: CodeIgnoredKind.Name, Object: item.Ref, Position: item.Position,
			Message: fmt.Sprintf("%s objects have no meaning for a mesh without Kubernetes; this one is skipped", h.kind),
		}}
		return item
	case !known || !kind.Serves(h.version()):
		item.Problems = Problems{unknownKind(w.position(n), h, kind)}
		item.Key = d.key(kind, h)
		item.attribute()
		return item
	}
	item.Key = d.key(kind, h)
	item.Ref = item.Key.Ref()
	o := &Object{Key: item.Key, Origin: Origin{Source: d.Source, Position: item.Position}}
	spec, _ := w.envelope(n, o)
	if !w.problems.HasErrors() {
		w.build(n, spec, o)
	}
	item.Problems = w.problems
	item.attribute()
	if !item.Problems.HasErrors() {
		item.Object = o
	}
	return item
}

// key completes the namespace. A bad item's key is still needed, to keep the
// last good version of the same object alive.
func (d decoder) key(kind Kind, h head) Key {
	if h.name == "" {
		return Key{Kind: kind}
	}
	key := Key{Kind: kind, Namespace: h.namespace, Name: h.name}
	switch {
	case kind.ClusterScoped():
		key.Namespace = ""
	case key.Namespace == "":
		key.Namespace = d.Namespace
	}
	return key
}

// attribute writes the object's name into its problems.
func (i *Item) attribute() {
	for p := range i.Problems {
		i.Problems[p].Object = i.Ref
	}
}

func unknownKind(pos Position, h head, kind Kind) Problem {
	p := Problem{Severity: Error, Code: CodeUnknownKind.ID, Name: CodeUnknownKind.Name, Position: pos, Field: "kind"}
	p.Message = fmt.Sprintf("no kind %q is known in API %q", h.kind, h.apiVersion)
	if kind != UnknownKind {
		p.Field = "apiVersion"
		p.Message = fmt.Sprintf("%s has no version %q", h.kind, h.version())
		p.Hint = "Write apiVersion: " + kind.APIVersion()
		return p
	}
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.String())
	}
	if k, ok := ParseKind(nearest(h.kind, names)); ok {
		p.Hint = fmt.Sprintf("Did you mean kind: %s with apiVersion: %s?", k, k.APIVersion())
	}
	return p
}

// envelope checks everything around the spec and fills the object's metadata;
// it returns the spec in JSON's values.
func (w *walker) envelope(n *yaml.Node, o *Object) (spec any, specNode *yaml.Node) {
	shape := shapeOf(&envelope{})
	f := fieldNode{line: int32(n.Line + w.offset), column: int32(n.Column)}
	for _, e := range w.entries(n, "", 0) {
		name := e.key.Value
		fs, ok := shape.field(name)
		if !ok {
			w.complain(e.key, name, misplaced(name, o.Kind, shape), "unknown field %q", name)
			continue
		}
		s := fs.shape
		if name == "spec" {
			s, specNode = shapeOf(o.Kind.NewSpec()), e.value
		}
		if name == "status" {
			continue
		}
		v, child, _ := w.value(e.value, s, name, 1)
		child.key, child.line, child.column = name, int32(e.key.Line+w.offset), int32(e.key.Column)
		f.children = append(f.children, child)
		switch name {
		case "spec":
			spec = v
		case "metadata":
			w.metadata(e.value, v, o)
		}
	}
	if o.Name == "" && !w.problems.HasErrors() {
		w.complain(n, "metadata.name", "Give it one under metadata", "the object has no name")
	}
	o.Origin.fields = f.pack(o.Origin.Line)
	return spec, specNode
}

// misplaced makes the hint for an unknown top-level field: often it is one of
// the spec's, with "spec:" forgotten or the indentation lost.
func misplaced(name string, kind Kind, envelope shape) string {
	if _, ok := shapeOf(kind.NewSpec()).field(name); ok {
		return fmt.Sprintf("%q belongs under spec: indent it", name)
	}
	return didYouMean(name, envelope.names())
}

// metadata takes over what was read of an object's metadata, which has been
// checked against the shape of that type.
func (w *walker) metadata(n *yaml.Node, v any, o *Object) {
	m, _ := v.(map[string]any)
	text := func(name string) string {
		s, _ := m[name].(string)
		return s
	}
	if text("name") == "" && text("generateName") != "" {
		w.complain(n, "metadata.generateName", "Write metadata.name", "names aren't generated here")
	}
	o.Labels, o.Annotations = w.common.mapping(m["labels"]), w.common.mapping(m["annotations"])
	o.ResourceVersion = w.common.text(text("resourceVersion"))
	if g, ok := m["generation"].(json.Number); ok {
		o.Generation, _ = g.Int64() // it was written by the walker
	}
	if created := text("creationTimestamp"); created != "" {
		var err error
		if o.Created, err = time.Parse(time.RFC3339, created); err != nil {
			w.complain(n, "metadata.creationTimestamp", "Remove it", "%q is no time", created)
		}
	}
}

// mapping is a mapping of texts, nil if v is none.
func (c *common) mapping(v any) map[string]string {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, e := range m {
		text, _ := e.(string)
		out[c.text(k)] = c.text(text)
	}
	return out
}

// build makes the typed spec of a checked one.
func (w *walker) build(n *yaml.Node, spec any, o *Object) {
	if spec == nil {
		spec = map[string]any{}
	}
	o.Spec = o.Kind.NewSpec()
	if err := w.common.buildSpec(o.Spec, spec); err != nil {
		// The walk has checked the form, so what is left are values that only
		// their type can judge, such as a timestamp.
		w.complain(n, "spec", "", "%s", protoMessage(err))
	}
}

func (c *common) buildSpec(into, spec any) error {
	if m, ok := into.(proto.Message); ok {
		if from, ok := spec.(map[string]any); ok {
			return c.fill(m.ProtoReflect(), from)
		}
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// protoMessage drops the prefix of protojson's errors, which has a
// non-breaking space on some builds on purpose, and the JSON position, which
// isn't the user's.
func protoMessage(err error) string {
	s := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	s = strings.TrimPrefix(s, "proto: ")
	if _, after, ok := strings.Cut(s, "): "); ok && strings.HasPrefix(s, "(line ") {
		s = after
	}
	return s
}

// MeshConfigSpec is a MeshConfig as the user wrote it. It stays JSON because a
// proto message can't tell a field set to false from one left out, and over
// defaults that are true this makes all the difference.
type MeshConfigSpec struct {
	// JSON is an object that fits MeshConfig's schema, never empty.
	JSON json.RawMessage
}

// MarshalJSON writes what the user wrote.
func (s *MeshConfigSpec) MarshalJSON() ([]byte, error) { return s.JSON, nil }

// UnmarshalJSON takes b after checking that it is a MeshConfig.
func (s *MeshConfigSpec) UnmarshalJSON(b []byte) error {
	if err := protojson.Unmarshal(b, &meshconfig.MeshConfig{}); err != nil {
		return err
	}
	s.JSON = slices.Clone(b)
	return nil
}

// MeshConfigName and MeshConfigNamespace name the one MeshConfig, however it
// was delivered.
const (
	MeshConfigName      = "istio"
	MeshConfigNamespace = "istio-system"
)

// looksLikeMeshConfig: a bare MeshConfig file has neither kind nor apiVersion,
// so it is known by its fields.
func looksLikeMeshConfig(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return false
	}
	s := shapeOf(MeshConfig.NewSpec())
	for i := 0; i+1 < len(n.Content); i += 2 {
		if _, ok := s.field(n.Content[i].Value); !ok {
			return false
		}
	}
	return true
}

func (d decoder) bareMeshConfig(n *yaml.Node, offset int) Item {
	w := &walker{file: d.File, offset: offset, common: d.common}
	key := Key{Kind: MeshConfig, Namespace: MeshConfigNamespace, Name: MeshConfigName}
	item := Item{Key: key, Ref: key.Ref(), Position: w.position(n)}
	o := &Object{Key: key, Origin: Origin{Source: d.Source, Position: item.Position}}
	v, f, _ := w.value(n, shapeOf(MeshConfig.NewSpec()), "spec", 1)
	f.key = "spec"
	o.Origin.fields = (&fieldNode{line: f.line, column: f.column, children: []fieldNode{f}}).pack(o.Origin.Line)
	if !w.problems.HasErrors() {
		w.build(n, v, o)
	}
	item.Problems = w.problems
	item.attribute()
	if !item.Problems.HasErrors() {
		item.Object = o
	}
	return item
}

// configMap reads the MeshConfig that stands as text in a ConfigMap. A block
// of text begins on the line after its "|", so lines in it can be told.
func (d decoder) configMap(data *yaml.Node, h head, offset int) Item {
	offset += data.Line - 1
	if data.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		offset++
	}
	item := d.meshText([]byte(data.Value), offset)
	item.Key = Key{Kind: MeshConfig, Namespace: MeshConfigNamespace, Name: MeshConfigName}
	item.Ref = Ref{Kind: h.kind, Namespace: h.namespace, Name: h.name}
	item.attribute()
	return item
}

func (d decoder) meshText(text []byte, offset int) Item {
	pos := Position{File: d.File, Line: offset + 1}
	root, err := parse(text)
	if err != nil {
		line, message := syntaxError(err)
		pos.Line = offset + line
		return Item{Position: pos, Problems: Problems{d.problem(CodeSyntax, pos, message, "Check the indentation under mesh:")}}
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	if root != nil && len(root.Content) > 0 && !isNull(root.Content[0]) {
		n = root.Content[0]
	}
	return d.bareMeshConfig(n, offset)
}

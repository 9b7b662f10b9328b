package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"lateen.dev/lateen/config/mesh"
	"lateen.dev/lateen/source/files"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

// reference is a translation from scratch of what stands in a configuration
// directory: what clients must end with.
type reference struct {
	translator *translate.Translator
	catalog    *catalog
	hashes     map[*xds.Resource]uint64
}

// clusterName is the control plane's name of the only cluster there is.
const clusterName = "Kubernetes"

func newReference(dir string, c *catalog) (*reference, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	var contents []files.Content
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".yaml" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reference: %w", err)
		}
		contents = append(contents, files.Content{Path: path, Data: data})
	}
	tree := files.NewTree("file")
	changes := tree.Update(contents)
	if ps := tree.Problems(); ps.HasErrors() {
		return nil, fmt.Errorf("reference: %v", ps)
	}
	batch := world.Batch{Source: "file", Initial: true, Revision: 1}
	for _, change := range changes {
		batch.Changes = append(batch.Changes, world.ObjectChange{Key: change.Key, Object: change.Object})
	}
	w := world.New(world.Options{Mesh: mesh.Default(), Cluster: clusterName, Sources: []string{"file"}})
	w.Apply(batch)
	return &reference{translator: translate.New(w.Snapshot()), catalog: c, hashes: map[*xds.Resource]uint64{}}, nil
}

// counts is how many resources of each kind the client shall have.
func (r *reference) counts(c *client) (n [kindCount]int) {
	state := r.translator.State(c.proxy)
	for kind, typeURL := range kinds {
		n[kind] = state.Set(typeURL).Len()
	}
	return n
}

// check compares what the client has with what it shall have, and names the
// first difference.
func (r *reference) check(c *client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := r.translator.State(c.proxy)
	for kind, typeURL := range kinds {
		set := state.Set(typeURL)
		if c.count[kind] != set.Len() {
			return fmt.Errorf("client %d has %d resources of type %s and should have %d", c.index, c.count[kind], xds.ShortType(typeURL), set.Len())
		}
		for one := range set.All() {
			id := r.catalog.id(kind, one.Name)
			if id >= len(c.held[kind]) || c.held[kind][id] == 0 {
				return fmt.Errorf("client %d lacks %s %q", c.index, xds.ShortType(typeURL), one.Name)
			}
			if c.held[kind][id] != r.hash(one) {
				return fmt.Errorf("client %d has another %s %q than it should", c.index, xds.ShortType(typeURL), one.Name)
			}
		}
	}
	return nil
}

func (r *reference) hash(one *xds.Resource) uint64 {
	h, ok := r.hashes[one]
	if !ok {
		h = hash(one.Body().GetValue())
		r.hashes[one] = h
	}
	return h
}

// checkAll checks every client.
func (r *reference) checkAll(clients []*client) error {
	if i := slices.IndexFunc(clients, func(c *client) bool { return r.check(c) != nil }); i >= 0 {
		return r.check(clients[i])
	}
	return nil
}

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
func (r *reference) counts(c *client) (n [kindCount]int, err error) {
	shall, err := r.shallHave(c)
	for kind, list := range shall {
		n[kind] = len(list)
	}
	return n, err
}

// shallHave are the resources that the client must end with: all, or what
// everybody is told with what it asks for and what that leads to.
func (r *reference) shallHave(c *client) (shall [kindCount][]*xds.Resource, err error) {
	state := r.translator.State(c.proxy)
	set := func(kind int) *xds.Set { return state.Set(kinds[kind]) }
	if c.uses == nil {
		for kind := range kinds {
			shall[kind] = slices.Collect(set(kind).All())
		}
		return shall, nil
	}
	if !set(hosts).OnDemand() {
		return shall, fmt.Errorf("client %d is not on demand", c.index)
	}
	for _, name := range c.uses {
		if one := set(hosts).Get(name); one != nil {
			shall[hosts] = append(shall[hosts], one)
		}
	}
	shall[listeners], shall[clusters] = slices.Collect(set(listeners).All()), slices.Collect(set(clusters).All())
	for _, step := range []struct{ from, to int }{{listeners, routes}, {hosts, clusters}, {clusters, assignments}} {
		for _, one := range shall[step.from] {
			value := one.Body().GetValue()
			k, err := r.catalog.look(step.from, body{name: one.Name, value: value}, hash(value))
			if err != nil {
				return shall, err
			}
			for _, name := range k.refs {
				if next := set(step.to).Get(name); next != nil && k.kind == step.to && !slices.Contains(shall[step.to], next) {
					shall[step.to] = append(shall[step.to], next)
				}
			}
		}
	}
	return shall, nil
}

// expectAll has the catalog know what the clients will be told first.
func (r *reference) expectAll(clients []*client) error {
	known := map[*xds.Resource]bool{}
	for _, c := range clients {
		if c.sotw || c.uses != nil {
			continue // a few, or in another form
		}
		shall, err := r.shallHave(c)
		if err != nil {
			return err
		}
		for _, list := range shall {
			for _, one := range list {
				if known[one] {
					continue
				}
				known[one] = true
				if err := r.catalog.expect(one); err != nil {
					return err
				}
			}
		}
	}
	return r.catalog.finish()
}

// check compares what the client has with what it shall have, and names the
// first difference.
func (r *reference) check(c *client) error {
	shall, err := r.shallHave(c)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for kind, typeURL := range kinds {
		if c.count[kind] != len(shall[kind]) {
			return fmt.Errorf("client %d has %d resources of type %s and should have %d", c.index, c.count[kind], xds.ShortType(typeURL), len(shall[kind]))
		}
		for _, one := range shall[kind] {
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

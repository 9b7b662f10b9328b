package world

import (
	"slices"

	"lateen.dev/lateen/model"
)

func newLazyViews() *lazyViews {
	return &lazyViews{visible: make(map[string][]*model.Service), scopes: make(map[scopeKey]*Scope)}
}

// maxPatch is the number of changed services above which remembered lists are made anew when asked for, instead of mended.
const maxPatch = 64

// carry returns the remembered answers that are right for the next Snapshot too, mended where that is cheap. If nothing
// changed that they depend on, the Snapshots share them.
func (b *builder) carry() *lazyViews {
	if b.change.Mesh || len(b.changedServices) > maxPatch {
		return newLazyViews()
	}
	if len(b.changedServices) == 0 && len(b.changedRoutes) == 0 && len(b.goneSidecars) == 0 {
		return b.prev.lazy
	}
	out := newLazyViews()
	b.prev.lazy.mu.Lock()
	defer b.prev.lazy.mu.Unlock()
	b.mendAll(out.visible)
	for key, scope := range b.prev.lazy.scopes {
		if !b.touches(key, scope) {
			out.scopes[key] = scope
		}
	}
	return out
}

// mended is a list as it was, what a namespace now sees under each changed hostname, and the list with that put in.
type mended struct {
	was, now []*model.Service
	list     []*model.Service
}

// mendAll puts the changed services into the lists of the services visible to each namespace. Namespaces that saw the same
// list, and see the same change, share one again.
func (b *builder) mendAll(into map[string][]*model.Service) {
	var hosts []string
	for _, svc := range b.changedServices {
		if !slices.Contains(hosts, svc.Hostname) {
			hosts = append(hosts, svc.Hostname)
		}
	}
	var done []mended
	now := make([]*model.Service, len(hosts))
	for ns, was := range b.prev.lazy.visible {
		for i, h := range hosts {
			now[i] = pickVisible(ns, b.next.byHost.At(h))
		}
		i := slices.IndexFunc(done, func(m mended) bool { return sameList(m.was, was) && slices.Equal(m.now, now) })
		if i < 0 {
			i = len(done)
			done = append(done, mended{was, slices.Clone(now), mend(was, hosts, now)})
		}
		into[ns] = done[i].list
	}
}

// mend returns the list with what is now seen under each of the hostnames.
func mend(list []*model.Service, hosts []string, now []*model.Service) []*model.Service {
	owned := false
	for k, h := range hosts {
		i, found := slices.BinarySearchFunc(list, h, searchHostname)
		if !found && now[k] == nil || found && list[i] == now[k] {
			continue
		}
		if !owned {
			list, owned = slices.Clone(list), true
		}
		switch {
		case now[k] == nil:
			list = slices.Delete(list, i, i+1)
		case found:
			list[i] = now[k]
		default:
			list = slices.Insert(list, i, now[k])
		}
	}
	return list
}

// sameList reports whether two lists are one in memory.
func sameList(a, b []*model.Service) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// touches reports whether a remembered scope may come out differently.
func (b *builder) touches(key scopeKey, scope *Scope) bool {
	if _, gone := b.goneSidecars[key.sidecar]; gone {
		return true
	}
	for _, svc := range b.changedServices {
		if svc.ExportTo.VisibleTo(key.namespace) && scope.mayName(svc) {
			return true
		}
	}
	for _, v := range b.changedRoutes {
		if v.ExportTo.VisibleTo(key.namespace) && v.AppliesTo(model.MeshGateway) && scope.mayImport(v) {
			return true
		}
	}
	return false
}

// mayName reports whether the scope names the service, or one of its routes leads to it.
func (c *Scope) mayName(svc *model.Service) bool {
	if c.unlimited() {
		return true
	}
	for i := range c.listeners {
		if c.listeners[i].Selects(svc.Namespace, svc.Hostname) {
			return true
		}
	}
	for i := range c.Egress {
		for _, v := range c.Egress[i].VirtualServices {
			if slices.ContainsFunc(destinations(v, c.Namespace), func(d destination) bool { return d.host == svc.Hostname }) {
				return true
			}
		}
	}
	return false
}

func (c *Scope) mayImport(v *model.VirtualService) bool {
	if c.unlimited() {
		return true
	}
	for i := range c.listeners {
		e := &c.listeners[i]
		if slices.ContainsFunc(v.Hosts, func(h string) bool { return e.Imports(v.Namespace, h) }) {
			return true
		}
	}
	return false
}

func (c *Scope) unlimited() bool { return len(c.listeners) == 0 }

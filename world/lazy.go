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
	for ns, list := range b.prev.lazy.visible {
		out.visible[ns] = b.mend(ns, list)
	}
	for key, scope := range b.prev.lazy.scopes {
		if !b.touches(key, scope) {
			out.scopes[key] = scope
		}
	}
	return out
}

// mend puts the changed services into a list of the services visible to a namespace.
func (b *builder) mend(namespace string, list []*model.Service) []*model.Service {
	owned := false
	for _, changed := range b.changedServices {
		now := pickVisible(namespace, b.next.byHost.At(changed.Hostname))
		i, found := slices.BinarySearchFunc(list, changed.Hostname, searchHostname)
		if !found && now == nil || found && list[i] == now {
			continue
		}
		if !owned {
			list, owned = slices.Clone(list), true
		}
		switch {
		case now == nil:
			list = slices.Delete(list, i, i+1)
		case found:
			list[i] = now
		default:
			list = slices.Insert(list, i, now)
		}
	}
	return list
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

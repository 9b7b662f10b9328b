package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/plan"
)

// ExtensionStats gives the counters of filters' configurations that come by themselves, under Envoy's names.
func (s *Store) ExtensionStats(f func(name string, value int64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.kinds[plan.KindExtension])) {
		e := s.kinds[plan.KindExtension][name]
		prefix := "extension_config_discovery.http_filter." + name
		if e.live != nil && e.live.Extension.Network != nil {
			prefix = "extension_config_discovery.network_filter." + name
		}
		f(prefix+".config_fail", e.refusals)
		f(prefix+".config_reload", e.reloads)
	}
}

// accepts checks that every listener takes the filter's configuration under this name: the warming version of each, which
// is the one that the server has sent last, or the live one.
func (s *Store) accepts(x *plan.Extension) error {
	for _, e := range s.kinds[plan.KindListener] {
		v := e.warming
		if v == nil {
			v = e.live
		}
		if v == nil {
			continue
		}
		refuses := func(n compile.Need) bool {
			return n.Name == x.Name && !slices.Contains(strings.Split(n.Types, ","), x.Type)
		}
		if i := slices.IndexFunc(v.Needs.Extensions, refuses); i >= 0 {
			return fmt.Errorf("its configuration is a %s, and listener %q takes %s only (type_urls)", x.Type, e.name,
				v.Needs.Extensions[i].Types)
		}
	}
	return nil
}

package route

import (
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	networking "istio.io/api/networking/v1alpha3"
)

// headerOps is Headers in Envoy's terms. A change of the authority is taken out, for Envoy has a field of its own.
type headerOps struct {
	requestAdd, responseAdd       []*corev3.HeaderValueOption
	requestRemove, responseRemove []string
	authority                     string
}

func operations(h *networking.Headers) headerOps {
	req, resp := h.GetRequest(), h.GetResponse()
	return headerOps{
		requestAdd:     append(headerOptions(req.GetSet(), true), headerOptions(req.GetAdd(), false)...),
		responseAdd:    append(headerOptions(resp.GetSet(), true), headerOptions(resp.GetAdd(), false)...),
		requestRemove:  removable(req.GetRemove()),
		responseRemove: removable(resp.GetRemove()),
		authority:      authorityOf(req.GetSet(), req.GetAdd()),
	}
}

func authorityOf(sets ...map[string]string) string {
	for _, set := range sets {
		for _, name := range slices.Sorted(maps.Keys(set)) {
			if isAuthority(name) {
				return set[name]
			}
		}
	}
	return ""
}

func headerOptions(in map[string]string, overwrite bool) []*corev3.HeaderValueOption {
	action := corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	if overwrite {
		action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	}
	var out []*corev3.HeaderValueOption
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if !changeable(name) {
			continue
		}
		out = append(out, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: name, Value: in[name]},
			AppendAction: action,
		})
	}
	return out
}

func removable(names []string) []string {
	var out []string
	for _, n := range names {
		if changeable(n) {
			out = append(out, n)
		}
	}
	return out
}

// changeable reports whether Envoy lets a route change the header: not pseudo headers, not Host.
func changeable(name string) bool {
	return !strings.HasPrefix(name, ":") && !strings.EqualFold(name, "host")
}

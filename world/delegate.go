package world

import (
	"maps"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// mergeRule completes a delegate's rule by what the root's rule says, where the delegate says nothing itself. It returns
// false where the two contradict, so that the rule is left out.
func mergeRule(root, leaf *networking.HTTPRoute) bool {
	match, ok := mergeMatches(root.GetMatch(), leaf.GetMatch())
	if !ok {
		return false
	}
	leaf.Match = match
	leaf.Name = joinNames(root.GetName(), leaf.GetName())
	leaf.Rewrite = orElse(leaf.Rewrite, root.Rewrite)
	leaf.DirectResponse = orElse(leaf.DirectResponse, root.DirectResponse)
	leaf.Timeout = orElse(leaf.Timeout, root.Timeout)
	leaf.Retries = orElse(leaf.Retries, root.Retries)
	leaf.Fault = orElse(leaf.Fault, root.Fault)
	leaf.Mirror = orElse(leaf.Mirror, root.Mirror)
	leaf.MirrorPercentage = orElse(leaf.MirrorPercentage, root.MirrorPercentage)
	leaf.CorsPolicy = orElse(leaf.CorsPolicy, root.CorsPolicy)
	leaf.Headers = orElse(leaf.Headers, root.Headers)
	if len(leaf.Mirrors) == 0 {
		leaf.Mirrors = root.Mirrors
	}
	return true
}

func orElse[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func joinNames(root, leaf string) string {
	if root != "" && leaf != "" {
		return root + "-" + leaf
	}
	return root + leaf
}

// mergeMatches joins each of the delegate's matches with each of the root's that it doesn't contradict; every one of the
// delegate's must fit one of the root's.
func mergeMatches(root, leaf []*networking.HTTPMatchRequest) ([]*networking.HTTPMatchRequest, bool) {
	if len(root) == 0 {
		return leaf, true
	}
	if len(leaf) == 0 {
		return root, true
	}
	var out []*networking.HTTPMatchRequest
	for _, l := range leaf {
		fits := false
		for _, r := range root {
			if contradict(r, l) {
				continue
			}
			out = append(out, mergeMatch(r, l))
			fits = true
		}
		if !fits {
			return nil, false
		}
	}
	return out, true
}

func mergeMatch(root, leaf *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	out := &networking.HTTPMatchRequest{
		Name:            joinNames(root.GetName(), leaf.GetName()),
		Uri:             orElse(leaf.Uri, root.Uri),
		Scheme:          orElse(leaf.Scheme, root.Scheme),
		Method:          orElse(leaf.Method, root.Method),
		Authority:       orElse(leaf.Authority, root.Authority),
		Headers:         mergeStringMatches(root.Headers, leaf.Headers),
		WithoutHeaders:  mergeStringMatches(root.WithoutHeaders, leaf.WithoutHeaders),
		QueryParams:     mergeStringMatches(root.QueryParams, leaf.QueryParams),
		Port:            leaf.Port,
		IgnoreUriCase:   leaf.IgnoreUriCase,
		SourceLabels:    leaf.SourceLabels,
		SourceNamespace: firstOf(leaf.SourceNamespace, root.SourceNamespace),
		Gateways:        leaf.Gateways,
		StatPrefix:      firstOf(leaf.StatPrefix, root.StatPrefix),
	}
	if out.Port == 0 {
		out.Port = root.Port
	}
	if len(out.SourceLabels) == 0 {
		out.SourceLabels = root.SourceLabels
	}
	if len(out.Gateways) == 0 {
		out.Gateways = root.Gateways
	}
	return out
}

func mergeStringMatches(root, leaf map[string]*networking.StringMatch) map[string]*networking.StringMatch {
	if len(root) == 0 {
		return leaf
	}
	out := maps.Clone(root)
	maps.Copy(out, leaf)
	return out
}

// contradict reports whether the delegate's match takes in anything that the root's does not.
func contradict(root, leaf *networking.HTTPMatchRequest) bool {
	for _, pair := range [][2]*networking.StringMatch{
		{root.Uri, leaf.Uri}, {root.Scheme, leaf.Scheme}, {root.Method, leaf.Method}, {root.Authority, leaf.Authority},
	} {
		if exceeds(pair[0], pair[1]) {
			return true
		}
	}
	for _, pair := range [][2]map[string]*networking.StringMatch{
		{root.Headers, leaf.Headers}, {root.WithoutHeaders, leaf.WithoutHeaders}, {root.QueryParams, leaf.QueryParams},
	} {
		for key, l := range pair[1] {
			if r, ok := pair[0][key]; ok && exceeds(r, l) {
				return true
			}
		}
	}
	for key, value := range leaf.SourceLabels {
		if r, ok := root.SourceLabels[key]; ok && r != value {
			return true
		}
	}
	return root.IgnoreUriCase != leaf.IgnoreUriCase && root.Uri != nil && leaf.Uri != nil ||
		root.Port > 0 && leaf.Port > 0 && root.Port != leaf.Port ||
		root.SourceNamespace != "" && leaf.SourceNamespace != "" && root.SourceNamespace != leaf.SourceNamespace
}

// exceeds reports whether the delegate's condition takes in anything that the root's does not. Two regular expressions can't
// be compared, so they do unless they are the same.
func exceeds(root, leaf *networking.StringMatch) bool {
	if root == nil || leaf == nil {
		return false
	}
	switch r := root.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		l, ok := leaf.GetMatchType().(*networking.StringMatch_Exact)
		return !ok || l.Exact != r.Exact
	case *networking.StringMatch_Prefix:
		switch l := leaf.GetMatchType().(type) {
		case *networking.StringMatch_Prefix:
			return !strings.HasPrefix(l.Prefix, r.Prefix)
		case *networking.StringMatch_Exact:
			return !strings.HasPrefix(l.Exact, r.Prefix)
		}
		return true
	case *networking.StringMatch_Regex:
		return true
	default:
		return false // mere presence
	}
}

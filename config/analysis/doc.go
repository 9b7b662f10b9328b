// Package analysis judges a set of objects together: references that lead
// nowhere, rules that contradict each other, and what is allowed but surely
// wasn't meant. Codes, names and severities are Istio's.
//
// It is called by cli (analyze, without a control plane), by source (warnings
// on apply, problems of what is live) and by kube. All functions are pure; the
// package starts no goroutines.
//
// May import: config (besides lib).
package analysis

import (
	"fmt"
	"slices"
	"strings"

	"lateen.dev/lateen/config"
)

// suppress is the annotation that lists codes not to be reported for an object;
// "*" stands for all.
const suppress = "galley.istio.io/analyze-suppress"

// analyzers in the order of their codes.
var analyzers = []func(*facts){
	destinations,     // IST0101, IST0112
	gatewayRefs,      // IST0101, IST0132
	delegates,        // IST0101
	annotations,      // IST0107, IST0108, IST0135, IST0136
	meshHosts,        // IST0109
	sidecars,         // IST0110, IST0111
	portNames,        // IST0118, IST0150
	selectors,        // IST0127
	verification,     // IST0128, IST0129
	routes,           // IST0130, IST0131
	addresses,        // IST0134
	certificates,     // IST0138
	gateways,         // IST0145
	claims,           // IST0149
	envoyFilters,     // IST0151 to IST0155
	telemetryRefs,    // IST0157
	telemetries,      // IST0159, IST0160
	destinationRules, // IST0173, IST0174
	protocols,        // IST0177
	unsupported,      // LAT0008
}

// Analyze returns every complaint about the set, sorted by place. The objects
// must have passed validation; the set is taken to be all there is. Who analyzes
// again and again keeps a Set.
func Analyze(objects []*config.Object) config.Problems {
	return NewSet(objects).Analyze()
}

// report complains about a field of an object unless the object asks not to.
func (f *facts) report(c code, o *config.Object, at, hint, format string, args ...any) {
	if suppressed(o, c.ID) {
		return
	}
	f.problems = append(f.problems, config.Problem{
		Severity: c.severity, Code: c.ID, Name: c.Name, Object: o.Ref(), Field: at,
		Position: o.Origin.At(at), Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

func suppressed(o *config.Object, id string) bool {
	codes := strings.Split(o.Annotations[suppress], ",")
	return slices.ContainsFunc(codes, func(s string) bool {
		s = strings.TrimSpace(s)
		return s == "*" || strings.EqualFold(s, id)
	})
}

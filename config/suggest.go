package config

import (
	"fmt"
	"strings"
)

// nearest returns the candidate most like name, "" when none is close enough
// that a slip of the finger explains the difference.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", max(2, len(name)/3)+1
	for _, c := range candidates {
		if strings.EqualFold(c, name) || strings.EqualFold(c, camel(name)) {
			return c
		}
		if d := distance(strings.ToLower(name), strings.ToLower(c), bestDistance); d < bestDistance && d < len(c) {
			best, bestDistance = c, d
		}
	}
	return best
}

// didYouMean makes a hint of the nearest candidate, or of all when they are few.
func didYouMean(name string, candidates []string) string {
	if c := nearest(name, candidates); c != "" {
		return fmt.Sprintf("Did you mean %q?", c)
	}
	if len(candidates) > 0 && len(candidates) <= 12 {
		return "Known here: " + strings.Join(candidates, ", ")
	}
	return ""
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours between two short texts; beyond limit it may return limit.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || max(len(a)-len(b), len(b)-len(a)) >= limit {
		return limit
	}
	var before, above, row [65]int
	for j := range len(b) + 1 {
		above[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, above[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}

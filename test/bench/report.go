package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// spread is the median of several measurements with the least and the most.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	median := v[len(v)/2]
	if len(v)%2 == 0 {
		median = (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return spread{Median: median, Min: v[0], Max: v[len(v)-1]}
}

func (s spread) String() string {
	format := "%.1f [%.1f..%.1f]"
	switch {
	case s.Max < 10:
		format = "%.2f [%.2f..%.2f]"
	case s.Max >= 1000:
		format = "%.0f [%.0f..%.0f]"
	}
	return fmt.Sprintf(format, s.Median, s.Min, s.Max)
}

// result is one row over all candidates.
type result struct {
	Row        string    `json:"row"`
	Name       string    `json:"name"`
	Unit       string    `json:"unit"`
	Candidates []figures `json:"candidates"`
	Goals      []verdict `json:"goals,omitempty"`

	shows []metric
	// reference is the candidate that ratios are to.
	reference string
}

// figures are what was measured of one candidate.
type figures struct {
	Label   string            `json:"label"`
	Metrics map[metric]spread `json:"metrics"`
	// Ratio is to Envoy's, or to that of the version before, by the row's first metric, pair by pair.
	Ratio spread `json:"ratio,omitzero"`
}

// verdict is a goal and what was reached.
type verdict struct {
	Metric  metric  `json:"metric"`
	Against string  `json:"against,omitempty"`
	Note    string  `json:"note,omitempty"`
	Limit   float64 `json:"limit"`
	AtLeast bool    `json:"at_least,omitempty"`
	Ours    spread  `json:"ours"`
	Theirs  spread  `json:"theirs,omitzero"`
	Reached spread  `json:"reached"` // the figure, or the ratio
	Met     bool    `json:"met"`
}

func newResult(r row, samples map[string][]sample) result {
	out := result{Row: r.key, Name: r.name, Unit: r.unit, shows: r.shows, reference: envoy}
	if _, ok := samples[before]; ok {
		out.reference = before
	}
	for _, c := range r.candidates {
		list, ok := samples[c.label]
		if !ok {
			continue
		}
		f := figures{Label: c.label, Metrics: map[metric]spread{}}
		for _, m := range r.shows {
			f.Metrics[m] = spreadOf(take(list, m))
		}
		f.Ratio = spreadOf(ratios(list, samples[out.reference], r.shows[0]))
		out.Candidates = append(out.Candidates, f)
	}
	ours := samples[r.candidates[0].label]
	for _, g := range r.goals {
		if v, ok := judge(g, ours, samples[g.against]); ok {
			out.Goals = append(out.Goals, v)
		}
	}
	return out
}

// judge compares a goal with the measurements; false if one of them is missing.
func judge(g goal, ours, theirs []sample) (verdict, bool) {
	if len(ours) == 0 || g.against != "" && len(theirs) == 0 {
		return verdict{}, false
	}
	v := verdict{Metric: g.metric, Against: g.against, Note: g.note, Limit: g.limit, AtLeast: g.atLeast, Ours: spreadOf(take(ours, g.metric))}
	reached := take(ours, g.metric)
	if g.against != "" {
		v.Theirs = spreadOf(take(theirs, g.metric))
		reached = ratios(ours, theirs, g.metric)
	}
	if g.scale != 0 {
		for i := range reached {
			reached[i] *= g.scale
		}
	}
	v.Reached = spreadOf(reached)
	v.Met = v.Reached.Median <= g.limit
	if g.atLeast {
		v.Met = v.Reached.Median >= g.limit
	}
	return v, true
}

func take(list []sample, m metric) []float64 {
	var v []float64
	for _, s := range list {
		v = append(v, s[m])
	}
	return v
}

// ratios are made of the measurements of one round each.
func ratios(ours, theirs []sample, m metric) []float64 {
	var v []float64
	for i := range min(len(ours), len(theirs)) {
		if theirs[i][m] != 0 {
			v = append(v, ours[i][m]/theirs[i][m])
		}
	}
	return v
}

// in names a metric with the row's unit.
func (r *result) in(m metric) string { return strings.ReplaceAll(string(m), "unit", r.Unit) }

// print writes the row's table.
func (r *result) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s (-only %s)\n", r.Name, r.Row)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, m := range r.shows {
		fmt.Fprintf(w, "\t%s", r.in(m))
		if i == 0 {
			fmt.Fprintf(w, "\tof %s's", r.reference)
		}
	}
	fmt.Fprintln(w)
	for _, f := range r.Candidates {
		fmt.Fprint(w, f.Label)
		for i, m := range r.shows {
			fmt.Fprintf(w, "\t%v", f.Metrics[m])
			if i == 0 {
				fmt.Fprintf(w, "\t%v", f.Ratio)
			}
		}
		fmt.Fprintln(w)
	}
	for i := range r.Goals {
		fmt.Fprintln(w, r.Goals[i].sentence(r))
	}
	// Standard output that can't be written to has nobody to be told.
	_ = w.Flush()
}

func (v *verdict) sentence(r *result) string {
	what := r.in(v.Metric)
	if v.Note != "" {
		what = v.Note
	}
	if v.Against != "" {
		what += " to " + v.Against + "'s"
	}
	return fmt.Sprintf("  goal: %s %s: %v, %s", what, v.bound(), v.Reached, v.word())
}

func (v *verdict) bound() string {
	if v.AtLeast {
		return fmt.Sprintf("≥ %g", v.Limit)
	}
	return fmt.Sprintf("≤ %g", v.Limit)
}

func (v *verdict) word() string {
	if v.Met {
		return "met"
	}
	return "MISSED"
}

// summary writes all goals as one table in Markdown, and returns how many are missed.
func summary(out io.Writer, results []result) (missed int) {
	fmt.Fprintln(out, "\n| work | figure | Lateen | beside | theirs | reached | goal | |\n|---|---|---|---|---|---|---|---|")
	for i := range results {
		r := &results[i]
		for j := range r.Goals {
			v := &r.Goals[j]
			theirs, beside := "", v.Against
			if beside != "" {
				theirs = v.Theirs.String()
			}
			if !v.Met {
				missed++
			}
			fmt.Fprintf(out, "| %s | %s | %v | %s | %s | %v | %s | %s |\n", r.Name, r.in(v.Metric), v.Ours, beside, theirs, v.Reached, v.bound(), v.word())
		}
	}
	return missed
}

// list writes the rows with their goals.
func list(out io.Writer, chosen []row) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range chosen {
		var goals []string
		named := result{Unit: r.unit}
		for _, g := range r.goals {
			v := verdict{Limit: g.limit, AtLeast: g.atLeast}
			against := ""
			if g.against != "" {
				against = " to " + g.against + "'s"
			}
			goals = append(goals, named.in(g.metric)+against+" "+v.bound())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.key, r.name, strings.Join(goals, "; "))
	}
	return w.Flush()
}

package derive

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Stat is what is known about one collection.
type Stat struct {
	Name string `json:"name"`
	// Kind is source, static, map, mapMany, groups or join.
	Kind string `json:"kind"`
	// Inputs are the collections it is made of, Reads those that its transformation looked into.
	Inputs []string `json:"inputs,omitempty"`
	Reads  []string `json:"reads,omitempty"`
	Size   int      `json:"size"`
	// Batches counts those that touched it; Computed the inputs computed, Events the entries changed, Panics the inputs given
	// up, all since the start.
	Batches  uint64 `json:"batches"`
	Computed uint64 `json:"computed"`
	Events   uint64 `json:"events"`
	Panics   uint64 `json:"panics,omitempty"`
	// LastRun is when the last batch touched it, LastTook how long that took, LastComputed how many inputs it computed.
	LastRun      time.Time     `json:"lastRun,omitzero"`
	LastTook     time.Duration `json:"lastTook,omitempty"`
	LastComputed uint64        `json:"lastComputed,omitempty"`

	order int
}

func (s *Stat) reads(name string) {
	if !slices.Contains(s.Reads, name) {
		s.Reads = append(s.Reads, name)
	}
}

// Dump returns what is known about each collection, in the order of dependence.
func (g *Graph) Dump() []Stat {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Stat, len(g.nodes))
	for i, n := range g.nodes {
		out[i] = *n.stat()
		out[i].Inputs = slices.Clone(out[i].Inputs)
		out[i].Reads = slices.Clone(out[i].Reads)
	}
	return out
}

// WriteTable writes a dump as a table for people.
func WriteTable(w io.Writer, stats []Stat) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "NAME\tKIND\tFROM\tREADS\tSIZE\tBATCHES\tCOMPUTED\tEVENTS\tLAST\tTOOK")
	for _, s := range stats {
		last := "-"
		if !s.LastRun.IsZero() {
			last = s.LastRun.UTC().Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", s.Name, s.Kind, strings.Join(s.Inputs, ","),
			strings.Join(s.Reads, ","), s.Size, s.Batches, s.Computed, s.Events, last, s.LastTook)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("table of collections: %w", err)
	}
	return nil
}

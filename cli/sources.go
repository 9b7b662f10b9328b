package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/api"
)

// PathSources is where the local API says how the sources of configuration do:
// GET answers SourcesResponse.
const PathSources = "/v1/sources"

// SourcesResponse holds every source, in the order of precedence.
type SourcesResponse struct {
	Sources []source.Condition `json:"sources"`
}

func (r *root) sourcesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "sources",
		Short:   "Show where configuration comes from, and whether it still comes",
		GroupID: groupInspect,
		Long: "Lists the sources of configuration and services in their order: where two have the same object, the first\n" +
			"one's counts (lateen analyze says which is not used). A source that is failing keeps what it had live.",
		Example: "  lateen sources\n  lateen sources -o json",
		Args:    cobra.NoArgs,
	}
	o := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c := r.client()
		defer c.Close()
		all, err := r.sources(cmd.Context(), c)
		if err != nil {
			return err
		}
		if o.structured() {
			return o.write(r.Out, all)
		}
		var rows [][]string
		for _, s := range all {
			since := "-"
			if !s.Since.IsZero() {
				since = time.Since(s.Since).Round(time.Second).String()
			}
			rows = append(rows, []string{s.Source, string(s.State), since, fmt.Sprint(s.Objects), fmt.Sprint(s.Failures)})
		}
		if err := table(r.Out, []string{"SOURCE", "STATE", "FOR", "OBJECTS", "FAILURES"}, rows); err != nil {
			return err
		}
		for _, s := range all {
			if s.State == source.Stale {
				fmt.Fprintf(r.Out, "\n%s: not heard from since the start; what it said before %s is live\n", r.colour(red, s.Source), s.Heard.Format(time.RFC3339))
			}
			if s.State != source.Ready && s.Reason != "" {
				fmt.Fprintf(r.Out, "\n%s: %s\n", r.colour(red, s.Source), s.Reason)
			}
		}
		return nil
	}
	return cmd
}

func (r *root) sources(ctx context.Context, c *api.Client) ([]source.Condition, error) {
	var answer SourcesResponse
	if err := c.Call(ctx, http.MethodGet, PathSources, nil, &answer); err != nil {
		return nil, err
	}
	return answer.Sources, nil
}

// warnOfSources says which sources proxies are not up to date with, whatever
// their own state is.
func (r *root) warnOfSources(ctx context.Context, c *api.Client) error {
	all, err := r.sources(ctx, c)
	var e *api.Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		return nil // a control plane of an earlier version
	}
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.State == source.Stale {
			fmt.Fprintf(r.Err, "\n%s has not been heard from since the start; proxies have what it said before %s: %s\n", r.colour(red, s.Source),
				s.Heard.Format(time.RFC3339), s.Reason)
		}
		if s.State == source.Failing {
			fmt.Fprintf(r.Err, "\n%s has been failing for %s; proxies have what it said last: %s\n", r.colour(red, s.Source),
				time.Since(s.Since).Round(time.Second), s.Reason)
		}
	}
	return nil
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"lateen.dev/lateen/source/api"
)

func (r *root) applyCommand() *cobra.Command {
	var files []string
	var recursive, dryRun, wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:     "apply -f FILE…",
		Short:   "Create or change configuration",
		GroupID: groupConfig,
		Long: "Checks every object of the files and, if none has an error, writes them to the control plane's\n" +
			"configuration. What is live stays live when anything is wrong.",
		Example: "  lateen apply -f virtual-service.yaml\n  lateen apply -f networking/ --wait\n  cat *.yaml | lateen apply -f -",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return errNoInput
			}
			return r.apply(cmd.Context(), files, applyFlags{recursive: recursive, dryRun: dryRun, wait: wait, timeout: timeout})
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "file, directory, or - for standard input (may be repeated)")
	f.BoolVarP(&recursive, "recursive", "R", false, "read sub-directories too")
	f.BoolVar(&dryRun, "dry-run", false, "check everything, change nothing")
	f.BoolVar(&wait, "wait", false, "return when every proxy has acknowledged the change")
	f.DurationVar(&timeout, "timeout", 30*time.Second, "how long --wait waits")
	return cmd
}

type applyFlags struct {
	recursive, dryRun, wait bool
	timeout                 time.Duration
}

func (r *root) apply(ctx context.Context, names []string, f applyFlags) error {
	files, err := r.readFiles(names, f.recursive)
	if err != nil {
		return err
	}
	c := r.client()
	defer c.Close()
	answer, err := c.Apply(ctx, api.ApplyRequest{Files: files, Namespace: r.namespace, DryRun: f.dryRun})
	if err != nil {
		return r.explainRefusal(err)
	}
	suffix := ""
	if f.dryRun {
		suffix = " (dry run)"
	}
	for _, result := range answer.Results {
		fmt.Fprintf(r.Out, "%s %s%s\n", result.Object, result.Action, suffix)
	}
	r.printProblems(r.Err, answer.Problems)
	if !f.wait || f.dryRun {
		return nil
	}
	return r.waitFor(ctx, c, answer.Revision, f.timeout)
}

// explainRefusal prints the problems that an error of the local API carries.
func (r *root) explainRefusal(err error) error {
	var refused *api.Error
	if errors.As(err, &refused) && len(refused.Problems) > 0 {
		r.printProblems(r.Err, refused.Problems)
	}
	return err
}

// PathWait is where the local API waits for a revision: GET
// ?revision=N&timeout=D answers WaitResponse. &source=NAME means the revision of
// that source and not of the one that apply writes to.
const PathWait = "/v1/wait"

// WaitResponse says which proxies have a revision.
type WaitResponse struct {
	Revision uint64 `json:"revision"`
	// Proxies is how many are connected.
	Proxies int `json:"proxies"`
	// Missing are those that have not acknowledged it in time.
	Missing []WaitMissing `json:"missing,omitempty"`
	// Took is how long the last acknowledgement took.
	Took time.Duration `json:"took"`
}

// WaitMissing is a proxy without the revision, and why, if it said so.
type WaitMissing struct {
	Proxy  string `json:"proxy"`
	Reason string `json:"reason,omitempty"`
}

func (r *root) waitFor(ctx context.Context, c *api.Client, revision uint64, timeout time.Duration) error {
	q := url.Values{"revision": {strconv.FormatUint(revision, 10)}, "timeout": {timeout.String()}}
	var w WaitResponse
	if err := c.Call(ctx, http.MethodGet, PathWait+"?"+q.Encode(), nil, &w); err != nil {
		return err
	}
	if len(w.Missing) == 0 {
		fmt.Fprintf(r.Out, "%d proxies have it after %v\n", w.Proxies, w.Took.Round(time.Millisecond))
		return nil
	}
	for _, m := range w.Missing {
		reason := m.Reason
		if reason == "" {
			reason = "no acknowledgement yet"
		}
		fmt.Fprintf(r.Err, "%s: %s\n", m.Proxy, reason)
	}
	return fmt.Errorf("%d of %d proxies don't have the change after %v; see lateen proxy-status", len(w.Missing), w.Proxies, timeout)
}

package cli

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

// PathVersion is where the local API says what the control plane is: GET
// answers VersionResponse.
const PathVersion = "/v1/version"

// VersionResponse is the version of the control plane and of its proxies.
type VersionResponse struct {
	Control string `json:"control"`
	// Proxies counts the connected proxies by version.
	Proxies map[string]int `json:"proxies"`
}

func (r *root) versionCommand() *cobra.Command {
	var remote bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of this binary, the control plane and the proxies",
		Args:    cobra.NoArgs,
		Example: "  lateen version\n  lateen version --remote -o json",
	}
	o := outputFlag(cmd)
	cmd.Flags().BoolVar(&remote, "remote", false, "also ask the control plane")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		all := struct {
			Client  fmt.Stringer     `json:"client"`
			Control *VersionResponse `json:"mesh,omitempty"`
		}{Client: r.Build}
		if remote {
			c := r.client()
			defer c.Close()
			all.Control = new(VersionResponse)
			if err := c.Call(cmd.Context(), http.MethodGet, PathVersion, nil, all.Control); err != nil {
				return err
			}
		}
		if o.structured() {
			return o.write(r.Out, all)
		}
		fmt.Fprintf(r.Out, "client version: %s\n", r.Build)
		if all.Control != nil {
			fmt.Fprintf(r.Out, "control plane version: %s\n", all.Control.Control)
			for v, n := range all.Control.Proxies {
				fmt.Fprintf(r.Out, "data plane version: %s (%d proxies)\n", v, n)
			}
		}
		return nil
	}
	return cmd
}

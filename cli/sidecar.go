package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

// PathUses is where the local API tells what workloads on demand have used.
const PathUses = "/v1/uses"

// UsesResponse answers PathUses.
type UsesResponse struct {
	Workloads []WorkloadUses `json:"workloads"`
}

// WorkloadUses is what one workload has used.
type WorkloadUses struct {
	Namespace string            `json:"namespace"`
	Workload  string            `json:"workload"`
	Labels    map[string]string `json:"labels,omitempty"`
	// Hosts are NAMESPACE/HOST, sorted.
	Hosts []string `json:"hosts"`
}

func (r *root) sidecarCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "sidecar",
		Short:   "Work with sidecars: what they may see, and their restart",
		GroupID: groupConfig,
	}
	cmd.AddCommand(r.sidecarSuggestCommand(), r.sidecarRestartCommand())
	return cmd
}

func (r *root) sidecarSuggestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suggest [WORKLOAD]",
		Short: "Write the Sidecar resource that fits what a workload has called",
		Long: "Writes a Sidecar resource whose egress hosts are the services that the workload has called, as far as its\n" +
			"proxies have asked for them on demand (lateen run --on-demand, annotation lateen.dev/on-demand, or\n" +
			"LATEEN_ON_DEMAND in the mesh's defaultConfig.proxyMetadata). Without WORKLOAD it writes one for each workload of the namespace that has\n" +
			"asked for something. It is for you to review: what has not been called yet is not in it. Nothing is applied.",
		Example: "  lateen sidecar suggest productpage-v1\n  lateen sidecar suggest -n shop > sidecars.yaml\n  lateen sidecar suggest productpage-v1 | lateen apply -f -",
		Args:    cobra.MaximumNArgs(1),
	}
	o := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q := url.Values{"namespace": {r.namespace}}
		if len(args) == 1 {
			q.Set("workload", args[0])
		}
		c := r.client()
		defer c.Close()
		var answer UsesResponse
		if err := c.Call(cmd.Context(), http.MethodGet, PathUses+"?"+q.Encode(), nil, &answer); err != nil {
			return err
		}
		if len(answer.Workloads) == 0 {
			who := "no workload"
			if len(args) == 1 {
				who = "no workload " + args[0]
			}
			return fmt.Errorf("%s in namespace %s has asked for anything on demand. Sidecars that hold the whole mesh ask for nothing, so the control plane doesn't know what they use: "+
				"start the program with lateen run --on-demand, or give its pod the annotation lateen.dev/on-demand: \"true\", let it do its work, and ask again. "+
				"What it has called so far is in its metrics: istio_requests_total, label destination_service", who, r.namespace)
		}
		return r.writeSidecars(answer.Workloads, *o)
	}
	return cmd
}

// writeSidecars writes a document for each, as YAML unless told otherwise.
func (r *root) writeSidecars(list []WorkloadUses, o output) error {
	for i := range list {
		s := list[i].sidecar()
		if o == outputJSON {
			b, err := json.MarshalIndent(s, "", "  ")
			if err != nil {
				return fmt.Errorf("sidecar of %s: %w", list[i].Workload, err)
			}
			fmt.Fprintln(r.Out, string(b))
			continue
		}
		if i > 0 {
			fmt.Fprintln(r.Out, "---")
		}
		if err := outputYAML.write(r.Out, s); err != nil {
			return err
		}
	}
	return nil
}

func (w *WorkloadUses) sidecar() map[string]any {
	spec := map[string]any{"egress": []any{map[string]any{"hosts": w.Hosts}}}
	if len(w.Labels) > 0 {
		spec["workloadSelector"] = map[string]any{"labels": w.Labels}
	}
	return map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
		"metadata": map[string]any{"name": w.Workload, "namespace": w.Namespace},
		"spec":     spec,
	}
}

package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// clustersJSON is what this package reads of Envoy's /clusters?format=json.
type clustersJSON struct {
	Clusters []struct {
		Name  string `json:"name"`
		Hosts []struct {
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
				Pipe struct {
					Path string `json:"path"`
				} `json:"pipe"`
			} `json:"address"`
			Health struct {
				EDS     string `json:"eds_health_status"`
				Outlier bool   `json:"failed_outlier_check"`
				Active  bool   `json:"failed_active_health_check"`
			} `json:"health_status"`
			Weight int `json:"weight"`
		} `json:"host_statuses"`
	} `json:"cluster_statuses"`
}

func (r *root) endpointCommand() *cobra.Command {
	var cluster, address, port, status string
	cmd := &cobra.Command{
		Use:               "endpoint PROXY",
		Aliases:           []string{"endpoints", "ep"},
		Short:             "Show endpoints: the addresses behind each cluster, and their health",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: r.proxyArgument,
	}
	o := outputFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&cluster, "cluster", "", "only those of this cluster")
	f.StringVar(&address, "address", "", "only this address")
	f.StringVar(&port, "port", "", "only this port")
	f.StringVar(&status, "status", "", "only healthy or unhealthy ones")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := r.fetchAdmin(cmd.Context(), args[0], http.MethodGet, "/clusters?format=json")
		if err != nil {
			return err
		}
		if o.structured() {
			return o.write(r.Out, json.RawMessage(b))
		}
		var all clustersJSON
		if err := json.Unmarshal(b, &all); err != nil {
			return fmt.Errorf("clusters of %s: %w", args[0], err)
		}
		var rows [][]string
		for _, c := range all.Clusters {
			for _, h := range c.Hosts {
				endpoint := fmt.Sprintf("%s:%d", h.Address.Socket.Address, h.Address.Socket.Port)
				if h.Address.Pipe.Path != "" {
					endpoint = "unix://" + h.Address.Pipe.Path
				}
				health, outlier := "HEALTHY", "OK"
				if h.Health.Active || (h.Health.EDS != "" && h.Health.EDS != "HEALTHY") {
					health = "UNHEALTHY"
				}
				if h.Health.Outlier {
					outlier = "FAILED"
				}
				if (cluster != "" && c.Name != cluster) || (address != "" && h.Address.Socket.Address != address) ||
					(port != "" && fmt.Sprint(h.Address.Socket.Port) != port) || (status != "" && !strings.EqualFold(status, health)) {
					continue
				}
				rows = append(rows, []string{endpoint, health, outlier, c.Name})
			}
		}
		slices.SortFunc(rows, slices.Compare[[]string])
		return table(r.Out, []string{"ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"}, rows)
	}
	return cmd
}

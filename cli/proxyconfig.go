package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"
)

func (r *root) proxyConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "proxy-config",
		Aliases: []string{"pc"},
		Short:   "Show the configuration that a proxy runs with",
		GroupID: groupInspect,
		Long: "Reads a connected proxy's admin address through the control plane, or a config dump from a file\n" +
			"(--file), which may come from any Envoy.",
		Example: "  lateen proxy-config route productpage-v1\n  lateen pc cluster productpage-v1 --fqdn reviews.default.svc.cluster.local\n" +
			"  lateen pc all productpage-v1 -o json",
	}
	cmd.AddCommand(
		r.dumpCommand("cluster", "Show clusters: the destinations that it can send to", clusterView),
		r.dumpCommand("listener", "Show listeners: where it accepts, and what it does with it", listenerView),
		r.dumpCommand("route", "Show routes: which request goes where, and the object that says so", routeView),
		r.endpointCommand(),
		r.dumpCommand("secret", "Show certificates and trusted roots (never keys)", secretView),
		r.dumpCommand("ecds", "Show filters' configurations that came by themselves, and the policies in them", extensionView),
		r.dumpCommand("bootstrap", "Show what it was started with", bootstrapView),
		r.dumpCommand("all", "Show everything", allView),
		r.logCommand(),
	)
	return cmd
}

// filter narrows a listing.
type filter struct {
	name, fqdn, port, subset, direction string
}

// view is one listing of a dump: what -o prints, and the tables.
type view func(d *configDump, f filter) (structured any, tables []listing, err error)

// listing is one table.
type listing struct {
	columns []string
	rows    [][]string
}

// dumpFlags are shared by the sub-commands that read a config dump.
type dumpFlags struct {
	filter
	file string
}

func (f *dumpFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "only the one of this name")
	flags.StringVar(&f.fqdn, "fqdn", "", "only those of this service")
	flags.StringVar(&f.port, "port", "", "only those of this port")
	flags.StringVar(&f.subset, "subset", "", "only those of this subset")
	flags.StringVar(&f.direction, "direction", "", "only inbound or outbound")
	flags.StringVarP(&f.file, "file", "f", "", "read a config dump from this file instead of a proxy")
}

func (r *root) dumpCommand(name, short string, v view) *cobra.Command {
	var f dumpFlags
	cmd := &cobra.Command{Use: name + " PROXY", Short: short, Args: cobra.MaximumNArgs(1), ValidArgsFunction: r.proxyArgument}
	switch name {
	case "all":
		cmd.Aliases = []string{"a"}
	case "ecds":
		cmd.Aliases = []string{"ec"}
	default:
		cmd.Aliases = []string{name + "s", name[:1]}
	}
	f.add(cmd)
	o := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := r.readDump(cmd.Context(), args, f.file)
		if err != nil {
			return err
		}
		d, err := parseConfigDump(b)
		if err != nil {
			return err
		}
		structured, tables, err := v(d, f.filter)
		if err != nil {
			return err
		}
		if o.structured() {
			if name == "all" {
				structured = json.RawMessage(b)
			}
			return o.write(r.Out, structured)
		}
		return r.printListings(tables)
	}
	return cmd
}

func (r *root) printListings(tables []listing) error {
	for i, t := range tables {
		if i > 0 {
			fmt.Fprintln(r.Out)
		}
		if err := table(r.Out, t.columns, t.rows); err != nil {
			return err
		}
	}
	return nil
}

func (r *root) proxyArgument(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.completeProxies(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
}

func (r *root) readDump(ctx context.Context, args []string, file string) ([]byte, error) {
	switch {
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("config dump: %w", err)
		}
		return b, nil
	case len(args) == 0:
		return nil, fmt.Errorf("name a proxy (lateen proxy-status lists them), or a config dump with --file")
	}
	return r.fetchAdmin(ctx, args[0], http.MethodGet, "/config_dump?include_eds")
}

// maxAdminAnswer bounds an answer of a proxy's admin address, in bytes.
const maxAdminAnswer = 256 << 20

// fetchAdmin asks a proxy's admin address through the local API.
func (r *root) fetchAdmin(ctx context.Context, proxy, method, path string) ([]byte, error) {
	c := r.client()
	defer c.Close()
	p, err := r.findProxy(ctx, c, proxy)
	if err != nil {
		return nil, err
	}
	if !p.Admin {
		return nil, fmt.Errorf("the admin address of %s is not known to the control plane; save its /config_dump and use --file", p.Name)
	}
	answer, err := c.Do(ctx, method, adminPath(p, path), nil)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", p.Name, err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAdminAnswer))
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", p.Name, err)
	}
	return b, nil
}

func (r *root) logCommand() *cobra.Command {
	var level string
	cmd := &cobra.Command{
		Use:   "log PROXY",
		Short: "Show or change a proxy's log levels",
		Long:  "Without --level, lists the scopes. With --level LEVEL or --level SCOPE:LEVEL,…, changes them.",
		Example: "  lateen proxy-config log reviews-v1\n  lateen proxy-config log reviews-v1 --level debug\n" +
			"  lateen proxy-config log reviews-v1 --level upstream:debug,xds:info",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: r.proxyArgument,
	}
	cmd.Flags().StringVar(&level, "level", "", "the new level: trace, debug, info, warning, error, critical or off")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, q := range logQueries(level) {
			if _, err := r.fetchAdmin(cmd.Context(), args[0], http.MethodPost, "/logging"+q); err != nil {
				return err
			}
		}
		b, err := r.fetchAdmin(cmd.Context(), args[0], http.MethodPost, "/logging")
		if err != nil {
			return err
		}
		fmt.Fprintf(r.Out, "%s", b)
		return nil
	}
	return cmd
}

package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (r *root) proxyStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "proxy-status [PROXY]",
		Aliases: []string{"ps"},
		Short:   "Show which proxy has which configuration, and who refused what",
		GroupID: groupInspect,
		Long: "SYNCED means that the proxy acknowledged all that it was sent, STALE that it has not answered yet,\n" +
			"NOT SENT that there was nothing to send, ERROR that it refused something (the reason is printed below).\n" +
			"Of one proxy it shows what differs, resource by resource: what it has acknowledged against what it shall\n" +
			"have, and, where its admin address can be reached, the clusters, listeners and routes that it runs with.",
		Example: "  lateen proxy-status\n  lateen proxy-status reviews-v1\n  lateen ps -o json",
		Args:    cobra.MaximumNArgs(1),
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return r.completeProxies(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
	o := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := r.client()
		defer c.Close()
		if len(args) == 1 {
			p, err := r.findProxy(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			report, err := r.report(cmd.Context(), c, p)
			if err != nil {
				return err
			}
			if o.structured() {
				return o.write(r.Out, report)
			}
			return r.printReport(report)
		}
		all, err := r.proxies(cmd.Context(), c)
		if err != nil {
			return err
		}
		if o.structured() {
			return o.write(r.Out, all)
		}
		if err := r.printProxies(all); err != nil {
			return err
		}
		return r.warnOfSources(cmd.Context(), c)
	}
	return cmd
}

// statusTypes are the columns of proxy-status, as istioctl has them, the
// virtual hosts that our own proxies take one by one, and the name table for the
// DNS proxy.
var statusTypes = [...]string{"CDS", "LDS", "EDS", "RDS", "ECDS", "VHDS", "NDS"}

func (r *root) printProxies(all []Proxy) error {
	if len(all) == 0 {
		fmt.Fprintln(r.Err, "no proxy is connected")
		return nil
	}
	columns := append(append([]string{"NAME", "TYPE"}, statusTypes[:]...), "REVISION", "VERSION")
	var rows [][]string
	for i := range all {
		p := &all[i]
		row := []string{p.Name, p.Type}
		for _, t := range statusTypes {
			row = append(row, typeCell(p.get(t)))
		}
		rows = append(rows, append(row, fmt.Sprint(p.Revision), p.Version))
	}
	if err := table(r.Out, columns, rows); err != nil {
		return err
	}
	for i := range all {
		r.printRefusals(r.Out, &all[i])
	}
	return nil
}

func typeCell(t *ProxyType) string {
	if t == nil {
		return "-"
	}
	if t.Status == "SYNCED" || t.Since.IsZero() {
		return t.Status
	}
	return fmt.Sprintf("%s (%s)", t.Status, time.Since(t.Since).Round(time.Second))
}

func (r *root) printRefusals(w io.Writer, p *Proxy) {
	for _, t := range p.Types {
		if len(t.Refused) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s refused %s %s:\n  %s\n", r.colour(red, p.Name), t.Type, strings.Join(t.Refused, ", "),
			strings.ReplaceAll(strings.TrimSpace(t.Reason), "\n", "\n  "))
	}
}

// printReport prints where one proxy stands, and what it lacks.
func (r *root) printReport(p *proxyReport) error {
	who := p.Identity
	if who == "" {
		who = "this machine"
	}
	fmt.Fprintf(r.Out, "%s (%s, %s) at %s, %s over %s since %s\n", p.Name, p.Type, p.Version, p.Address, who, p.Protocol, p.Since.Format(time.RFC3339))
	var rows [][]string
	for _, t := range p.Types {
		names := fmt.Sprint(t.Names)
		if t.Wildcard {
			names = "all"
		}
		rows = append(rows, []string{t.Type, t.Status, names, t.Wanted, t.Acked})
	}
	if err := table(r.Out, []string{"TYPE", "STATUS", "NAMES", "WANTED", "HAS"}, rows); err != nil {
		return err
	}
	r.printDifferences(p)
	return nil
}

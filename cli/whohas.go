package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lateen.dev/lateen/config"
)

// PathWhoHas is where the local API tells who has an object: GET
// ?resource=KIND/NAMESPACE/NAME answers WhoHasResponse.
const PathWhoHas = "/v1/who-has"

// WhoHasResponse says which proxies need an object and which have it.
type WhoHasResponse struct {
	Object config.Ref `json:"object"`
	Origin string     `json:"origin,omitempty"`
	// Version is the object's, Changed when it came to be what it is.
	Version string     `json:"version,omitempty"`
	Changed *time.Time `json:"changed,omitempty"`
	Proxies []Holder   `json:"proxies"`
}

// Holder is one connected proxy.
type Holder struct {
	Proxy string `json:"proxy"`
	// Needs says whether the object has a say in what the proxy does.
	Needs bool `json:"needs"`
	// Since is when the proxy had acknowledged all that the object changed, at the
	// latest; absent as long as it has not.
	Since *time.Time `json:"since,omitempty"`
	// Refused are the resources that carry it and that the proxy would not take.
	Refused []string `json:"refused,omitempty"`
	Reason  string   `json:"reason,omitempty"`
}

func (h *Holder) status() string {
	switch {
	case len(h.Refused) > 0:
		return "REFUSED"
	case h.Since == nil:
		return "WAITING"
	}
	return "HAS IT"
}

func (r *root) whoHasCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "who-has KIND NAME",
		Short:   "Show which proxies need an object, which have it since when, and who refused it",
		GroupID: groupInspect,
		Long: "HAS IT means that the proxy acknowledged everything that the object changes for it, WAITING that it has\n" +
			"not answered yet, REFUSED that it would not take a resource which carries the object; the reason is\n" +
			"printed below. SINCE is exact for recent changes, and never earlier than the truth.",
		Example:           "  lateen who-has virtualservice reviews\n  lateen who-has vs/reviews -o json\n  lateen who-has meshconfig istio -n istio-system --all",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeKinds,
	}
	cmd.Flags().BoolVar(&all, "all", false, "also list proxies that don't need it")
	o := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		resource, err := r.resourceOf(args)
		if err != nil {
			return err
		}
		c := r.client()
		defer c.Close()
		var answer WhoHasResponse
		if err := c.Call(cmd.Context(), http.MethodGet, PathWhoHas+"?"+url.Values{"resource": {resource}}.Encode(), nil, &answer); err != nil {
			return err
		}
		if o.structured() {
			return o.write(r.Out, answer)
		}
		return r.printHolders(&answer, all)
	}
	return cmd
}

// resourceOf reads KIND NAME or KIND/NAME.
func (r *root) resourceOf(args []string) (string, error) {
	if len(args) == 1 {
		kind, name, ok := strings.Cut(args[0], "/")
		if !ok {
			return "", fmt.Errorf("name an object of kind %s", args[0])
		}
		args = []string{kind, name}
	}
	kind, ok := config.ParseKind(args[0])
	if !ok {
		return "", fmt.Errorf("%q is not a kind; see lateen get --help", args[0])
	}
	key := config.Key{Kind: kind, Namespace: r.namespace, Name: args[1]}
	if kind.ClusterScoped() {
		key.Namespace = ""
	}
	return key.String(), nil
}

func (r *root) printHolders(answer *WhoHasResponse, all bool) error {
	fmt.Fprintf(r.Out, "%s", answer.Object)
	if answer.Changed != nil {
		fmt.Fprintf(r.Out, ", as it is since %s", answer.Changed.Format(time.RFC3339))
	}
	if answer.Origin != "" {
		fmt.Fprintf(r.Out, " (%s)", answer.Origin)
	}
	fmt.Fprintln(r.Out)
	var rows [][]string
	others := 0
	for i := range answer.Proxies {
		h := &answer.Proxies[i]
		if !h.Needs && !all {
			others++
			continue
		}
		since, needs := "-", "no"
		if h.Since != nil {
			since = h.Since.Format(time.RFC3339Nano)
		}
		if h.Needs {
			needs = "yes"
		}
		rows = append(rows, []string{h.Proxy, needs, h.status(), since})
	}
	if len(rows) > 0 {
		if err := table(r.Out, []string{"PROXY", "NEEDS IT", "STATUS", "SINCE"}, rows); err != nil {
			return err
		}
	}
	for i := range answer.Proxies {
		if h := &answer.Proxies[i]; len(h.Refused) > 0 {
			fmt.Fprintf(r.Out, "\n%s refused %s:\n  %s\n", r.colour(red, h.Proxy), strings.Join(h.Refused, ", "),
				strings.ReplaceAll(strings.TrimSpace(h.Reason), "\n", "\n  "))
		}
	}
	if others > 0 {
		fmt.Fprintf(r.Out, "%d other proxies don't need it\n", others)
	}
	return nil
}

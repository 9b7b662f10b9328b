package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func (r *root) explainCommand() *cobra.Command {
	var headers []string
	cmd := &cobra.Command{
		Use:     "explain PROXY METHOD URL",
		Short:   "Say why a request from a proxy's workload goes where it goes",
		GroupID: groupInspect,
		Long: "Asks the proxy itself, which answers with the code that routes: the listener and filter chain that take\n" +
			"the request, each route rule that was looked at and why it did not match, the one that did with the file\n" +
			"and line it was written in, and the cluster and its endpoints. Nothing is sent.",
		Example: "  lateen explain productpage-v1 GET http://reviews:9080/reviews/0\n" +
			"  lateen explain productpage-v1 GET http://reviews:9080/reviews/0 -H end-user:jason",
		Args: cobra.ExactArgs(3),
	}
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "a header field, NAME:VALUE (may be repeated)")
	o := outputFlag(cmd)
	cmd.ValidArgsFunction = r.proxyArgument
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		target := args[2]
		if !strings.Contains(target, "://") {
			target = "http://" + target
		}
		if u, err := url.Parse(target); err != nil || u.Host == "" {
			return fmt.Errorf("%q is not a URL such as http://reviews:9080/reviews/0", args[2])
		}
		q := url.Values{"method": {strings.ToUpper(args[1])}, "url": {target}}
		for _, h := range headers {
			if name, _, ok := strings.Cut(h, ":"); !ok || name == "" {
				return fmt.Errorf("-H %q is not NAME:VALUE", h)
			}
			q.Add("header", h)
		}
		b, err := r.fetchAdmin(cmd.Context(), args[0], http.MethodGet, "/explain?"+q.Encode())
		if err != nil {
			return err
		}
		if o.structured() {
			return o.write(r.Out, json.RawMessage(b))
		}
		var e explanation
		if err := json.Unmarshal(b, &e); err != nil {
			return fmt.Errorf("explanation of %s: %w", args[0], err)
		}
		explainer{out: r.Out, r: r}.write(&e)
		return nil
	}
	return cmd
}

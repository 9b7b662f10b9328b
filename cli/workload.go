package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"lateen.dev/lateen/lib/atomicfile"
)

// PathCredentials is where the local API gives out what a proxy on another machine
// needs: POST CredentialsRequest → CredentialsResponse.
const PathCredentials = "/v1/credentials"

// CredentialsRequest says whom they are for.
type CredentialsRequest struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	// Proxy, NAME.NAMESPACE, binds the token to the one proxy of that name.
	Proxy string        `json:"proxy,omitempty"`
	TTL   time.Duration `json:"ttl,omitempty"`
}

// CredentialsResponse is a token for that identity, and the mesh's roots (PEM).
type CredentialsResponse struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Root    string    `json:"root"`
	// TrustDomain is the mesh's, Discovery the control plane's address for proxies
	// of its own machine.
	TrustDomain string `json:"trustDomain"`
	Discovery   string `json:"discovery"`
}

// Files that workload configure writes, in istioctl's names.
const (
	tokenFile = "istio-token"
	rootFile  = "root-cert.pem"
)

func (r *root) workloadCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "workload", Short: "Prepare proxies on other machines", GroupID: groupConfig}
	cmd.AddCommand(r.workloadConfigureCommand())
	return cmd
}

func (r *root) workloadConfigureCommand() *cobra.Command {
	var out string
	request := CredentialsRequest{}
	cmd := &cobra.Command{
		Use:   "configure SERVICE-ACCOUNT",
		Short: "Write the token and the root certificate that a proxy on another machine starts with",
		Long: "Writes " + tokenFile + " (0600) and " + rootFile + " into a directory. Whoever has the token is the service\n" +
			"account as long as it is valid: copy it as you would copy a key. The proxy exchanges it for a certificate,\n" +
			"which it renews by itself; it needs a new token only if it was down for longer than its certificate's life.",
		Example: "  lateen workload configure gateway --output-dir gateway-files\n" +
			"  lateen proxy gateway --control-address control.example:15012 --service-account gateway \\\n" +
			"      --root-cert gateway-files/root-cert.pem --token-file gateway-files/istio-token",
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output-dir", "o", ".", "where to write the files")
	f.StringVar(&request.Proxy, "proxy", "", "the only proxy, NAME.NAMESPACE, that may use the token for discovery")
	f.DurationVar(&request.TTL, "token-duration", time.Hour, "how long the token is valid, 24h at most")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Namespace, request.ServiceAccount = r.namespace, args[0]
		c := r.client()
		defer c.Close()
		var answer CredentialsResponse
		if err := c.Call(cmd.Context(), http.MethodPost, PathCredentials, request, &answer); err != nil {
			return err
		}
		if err := os.MkdirAll(out, 0o755); err != nil {
			return fmt.Errorf("--output-dir: %w", err)
		}
		for name, text := range map[string]string{tokenFile: answer.Token + "\n", rootFile: answer.Root} {
			if err := atomicfile.Write(filepath.Join(out, name), []byte(text), 0o600); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		fmt.Fprintf(r.Out, "%s for %s/%s, good until %s, and %s are written to %s\n", tokenFile, r.namespace, args[0], answer.Expires.Format(time.RFC3339), rootFile, out)
		return nil
	}
	return cmd
}

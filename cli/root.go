package cli

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"lateen.dev/lateen/source/api"
)

// Env is what the commands need of the process that they run in.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	// Colour says that Out is a terminal that shows colours.
	Colour bool
	// Dir is the control plane's directory if --dir is not given.
	Dir string
	// Build is printed by version.
	Build fmt.Stringer
}

// SocketName is the local API's socket inside the control plane's directory.
const SocketName = "control.sock"

// root carries the flags that all commands share.
type root struct {
	Env
	dir       string
	namespace string
}

// NewRoot returns the command tree without the roles.
func NewRoot(env Env) *cobra.Command {
	r := &root{Env: env}
	cmd := &cobra.Command{
		Use:   "lateen",
		Short: "A service mesh in one binary: Istio's configuration, on one machine or many",
		Long: "Lateen is a service mesh in one static binary. It reads Istio's configuration, runs its own control plane\n" +
			"and its own proxy, and needs neither Kubernetes nor root on one machine.\n\n" +
			"Start with:\n\n  lateen demo",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.SetIn(env.In)
	cmd.SetOut(env.Out)
	cmd.SetErr(env.Err)
	flags := cmd.PersistentFlags()
	flags.StringVar(&r.dir, "dir", env.Dir, "the control plane's directory (or set LATEEN_DIR)")
	flags.StringVarP(&r.namespace, "namespace", "n", "default", "the namespace of names without one")
	cmd.AddGroup(&cobra.Group{ID: groupRoles, Title: "Run a part of the mesh:"},
		&cobra.Group{ID: groupConfig, Title: "Change and check configuration:"},
		&cobra.Group{ID: groupInspect, Title: "See what the proxies do:"})
	cmd.AddCommand(r.applyCommand(), r.getCommand(), r.deleteCommand(), r.analyzeCommand(),
		r.proxyStatusCommand(), r.whoHasCommand(), r.sourcesCommand(), r.proxyConfigCommand(), r.explainCommand(), r.workloadCommand(), r.sidecarCommand(), r.versionCommand())
	return cmd
}

// The groups under which --help lists the commands. cmd/lateen puts the roles
// into GroupRoles.
const (
	groupRoles   = GroupRoles
	groupConfig  = "config"
	groupInspect = "inspect"
)

// GroupRoles is the help group of the commands that run a part of the mesh.
const GroupRoles = "roles"

// client returns a client of the control plane's local API.
func (r *root) client() *api.Client { return api.NewClient(filepath.Join(r.dir, SocketName)) }

// problems prints problems, one a line, worst ones coloured.
func (r *root) colour(code, text string) string {
	if !r.Colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

const (
	red    = "31"
	yellow = "33"
	green  = "32"
)

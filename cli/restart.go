package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"lateen.dev/lateen/source/api"
)

// RunFolder is the directory's folder in which each `lateen run` has a socket, named WORKLOAD.NAMESPACE and RunSuffix.
const (
	RunFolder = "run"
	RunSuffix = ".sock"
)

// PathRestart is where `lateen run` takes the order to put another process in its sidecar's place.
const PathRestart = "/v1/restart"

// RestartRequest names the program that is to be the sidecar: a lateen, by its absolute path.
type RestartRequest struct {
	Executable string `json:"executable"`
}

// RestartResponse says which process is the sidecar now.
type RestartResponse struct {
	PID int `json:"pid"`
}

func (r *root) sidecarRestartCommand() *cobra.Command {
	var executable string
	cmd := &cobra.Command{
		Use:   "restart WORKLOAD…",
		Short: "Put a new process, of this version of lateen, in the place of a running workload's sidecar",
		Long: "Starts a new sidecar beside the one that a `lateen run` of this directory has, and has it take over when it is\n" +
			"ready. The program goes on undisturbed; what is connected stays with the old sidecar until it has ended, or\n" +
			"until lateen run's --parent-shutdown-time-s has passed. If the new one doesn't get ready nothing changes.\n" +
			"Workloads' names are those of lateen proxy-status.",
		Example: "  lateen sidecar restart reviews-v1\n  lateen sidecar restart -n shop cart-v2 web-v1\n  lateen sidecar restart web-v1 --executable /opt/lateen-1.3/lateen",
		Args:    cobra.MinimumNArgs(1),
	}
	cmd.Flags().StringVar(&executable, "executable", "", "the lateen to run (default: the one that runs this command)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if executable == "" {
			executable, err = os.Executable()
		} else {
			executable, err = filepath.Abs(executable)
		}
		if err != nil {
			return fmt.Errorf("--executable: %w", err)
		}
		for _, name := range args {
			c := api.NewClient(filepath.Join(r.dir, RunFolder, name+"."+r.namespace+RunSuffix))
			var answer RestartResponse
			err := c.Call(cmd.Context(), http.MethodPost, PathRestart, RestartRequest{Executable: executable}, &answer)
			c.Close()
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
				return fmt.Errorf("no lateen run of directory %s has a workload %s in namespace %s", r.dir, name, r.namespace)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: process %d is the sidecar now\n", name, answer.PID)
		}
		return nil
	}
	return cmd
}

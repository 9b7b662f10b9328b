package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"lateen.dev/lateen/config"
)

// analysisResult is the -o json form.
type analysisResult struct {
	Problems config.Problems `json:"problems"`
}

// failOn parses --failure-threshold.
func failOn(s string) (config.Severity, error) {
	var level config.Severity
	if err := level.UnmarshalText([]byte(s)); err != nil {
		return 0, fmt.Errorf("--failure-threshold: %w", err)
	}
	return level, nil
}

func (r *root) analyzeCommand() *cobra.Command {
	var live, recursive bool
	var threshold string
	cmd := &cobra.Command{
		Use:     "analyze [FILE…]",
		Short:   "Find mistakes in configuration, in files or in what is live",
		GroupID: groupConfig,
		Long: "Checks schema, values and references. With files it needs no control plane; without, it checks what is\n" +
			"live. Both together (FILE… --live) check the files as if they were applied.\n" +
			"Exits with 1 if there is a problem of the threshold's severity or worse.",
		Example: "  lateen analyze samples/bookinfo/networking/\n  lateen analyze\n  lateen analyze new.yaml --live",
	}
	o := outputFlag(cmd)
	f := cmd.Flags()
	f.BoolVar(&live, "live", false, "check the files together with what is live")
	f.BoolVarP(&recursive, "recursive", "R", false, "read sub-directories too")
	f.StringVar(&threshold, "failure-threshold", "Error", "the severity from which the command fails: Info, Warning or Error")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		level, err := failOn(threshold)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			found, err := r.liveProblems(cmd.Context())
			if err != nil {
				return err
			}
			return r.printAnalysis(*o, found, level)
		}
		files, err := r.readFiles(args, recursive)
		if err != nil {
			return err
		}
		var objects []*config.Object
		var problems config.Problems
		if live {
			if objects, problems, err = r.live(cmd.Context()); err != nil {
				return err
			}
		}
		problems = append(problems, analyseFiles(files, objects, r.namespace)...).Sorted()
		return r.printAnalysis(*o, problems, level)
	}
	return cmd
}

func (r *root) printAnalysis(o output, problems config.Problems, level config.Severity) error {
	if o.structured() {
		if problems == nil {
			problems = config.Problems{}
		}
		if err := o.write(r.Out, analysisResult{problems}); err != nil {
			return err
		}
	} else {
		r.printProblems(r.Out, problems)
		if len(problems) == 0 {
			fmt.Fprintln(r.Out, r.colour(green, "✔")+" No problems found.")
		}
	}
	if n := len(problems.AtLeast(level)); n > 0 {
		return fmt.Errorf("%d problems of severity %s or worse", n, level)
	}
	return nil
}

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"lateen.dev/lateen/config"
)

// output is the -o flag.
type output string

// The output formats. "table" is for people, the others for programs.
const (
	outputTable output = "table"
	outputWide  output = "wide"
	outputJSON  output = "json"
	outputYAML  output = "yaml"
)

// String implements pflag.Value.
func (o *output) String() string { return string(*o) }

// Type implements pflag.Value.
func (*output) Type() string { return "format" }

// Set implements pflag.Value.
func (o *output) Set(s string) error {
	switch output(s) {
	case outputTable, outputWide, outputJSON, outputYAML:
		*o = output(s)
		return nil
	case "short", "summary": // istioctl's names for the table
		*o = outputTable
		return nil
	}
	return fmt.Errorf("%q is not an output format; use table, wide, json or yaml", s)
}

// outputFlag adds -o to a command.
func outputFlag(cmd *cobra.Command) *output {
	o := outputTable
	cmd.Flags().VarP(&o, "output", "o", "output format: table, wide, json or yaml")
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"table", "wide", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc("output", complete); err != nil {
		panic(fmt.Sprintf("completion of a flag that was just added: %v", err))
	}
	return &o
}

// structured says that the output is for programs.
func (o output) structured() bool { return o == outputJSON || o == outputYAML }

// write prints v as JSON or YAML. v goes through JSON for YAML too, so that
// both have the same keys.
func (o output) write(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	if o == outputYAML {
		if b, err = jsonToYAML(b); err != nil {
			return err
		}
	} else {
		b = append(b, '\n')
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// jsonToYAML keeps the order of keys: JSON is YAML, so the parsed nodes only
// need another style.
func jsonToYAML(b []byte) ([]byte, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(b, &node); err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	blockStyle(&node)
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&node); err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	return out.Bytes(), nil
}

func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// table prints aligned columns.
func table(w io.Writer, columns []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// printProblems writes one problem a line, with colour for its severity.
func (r *root) printProblems(w io.Writer, problems config.Problems) {
	for _, p := range problems {
		line := p.String()
		severity := p.Severity.String()
		code := ""
		switch p.Severity {
		case config.Error:
			code = red
		case config.Warning:
			code = yellow
		}
		if code != "" {
			line = r.colour(code, severity) + strings.TrimPrefix(line, severity)
		}
		fmt.Fprintln(w, line)
	}
}

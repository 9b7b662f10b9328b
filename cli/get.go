package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source/api"
)

func (r *root) getCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "get KIND [NAME]",
		Short:   "Show configuration that is live",
		GroupID: groupConfig,
		Long:    "Shows objects of a kind, of several kinds with commas between them, or of all with \"all\".",
		Example: "  lateen get virtualservices\n  lateen get vs reviews -o yaml\n  lateen get all -A",
		Args:    cobra.RangeArgs(1, 2),
	}
	o := outputFlag(cmd)
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "in every namespace")
	cmd.ValidArgsFunction = completeKinds
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := api.GetRequest{Kind: args[0], Namespace: r.namespace, AllNamespaces: all}
		if kind, name, ok := strings.Cut(args[0], "/"); ok && len(args) == 1 {
			request.Kind, request.Name = kind, name
		}
		if len(args) == 2 {
			request.Name = args[1]
		}
		c := r.client()
		defer c.Close()
		answer, err := c.Get(cmd.Context(), request)
		if err != nil {
			return r.explainRefusal(err)
		}
		return r.printObjects(*o, request, answer)
	}
	return cmd
}

func completeKinds(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := []string{"all"}
	for _, k := range config.Kinds() {
		names = append(names, k.Plural())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (r *root) printObjects(o output, request api.GetRequest, answer api.GetResponse) error {
	if o == outputYAML {
		return r.printYAML(request, answer)
	}
	if o.structured() {
		if request.Name != "" && len(answer.Items) == 1 {
			return o.write(r.Out, answer.Items[0].Body)
		}
		list := struct {
			APIVersion string            `json:"apiVersion"`
			Kind       string            `json:"kind"`
			Items      []json.RawMessage `json:"items"`
		}{"v1", "List", []json.RawMessage{}}
		for _, item := range answer.Items {
			list.Items = append(list.Items, item.Body)
		}
		return o.write(r.Out, list)
	}
	if len(answer.Items) == 0 {
		where := "in namespace " + request.Namespace
		if request.AllNamespaces {
			where = "in any namespace"
		}
		fmt.Fprintf(r.Err, "there are no %s %s\n", request.Kind, where)
		return nil
	}
	if o == outputWide {
		addSources(&answer)
	}
	if len(answer.Tables) > 1 {
		addKinds(&answer)
	}
	for i, t := range answer.Tables {
		if i > 0 {
			fmt.Fprintln(r.Out)
		}
		if err := table(r.Out, t.Columns, t.Rows); err != nil {
			return err
		}
	}
	return nil
}

// addSources gives each table the column SOURCE: who brought the object, where
// ORIGIN may say in which file it stands there.
func addSources(answer *api.GetResponse) {
	next := 0
	for i := range answer.Tables {
		t := &answer.Tables[i]
		t.Columns = append(t.Columns, "SOURCE")
		for j := range t.Rows {
			t.Rows[j] = append(t.Rows[j], answer.Items[next].Source)
			next++
		}
	}
}

// addKinds puts the kind before each name, as kubectl does where there are several.
func addKinds(answer *api.GetResponse) {
	next := 0
	for i := range answer.Tables {
		t := &answer.Tables[i]
		name := slices.Index(t.Columns, "NAME")
		for j := range t.Rows {
			t.Rows[j][name] = strings.ToLower(answer.Items[next].Object.Kind) + "/" + t.Rows[j][name]
			next++
		}
	}
}

// printYAML prints objects with a comment above each that says where it comes
// from: what is printed can be edited and applied.
func (r *root) printYAML(request api.GetRequest, answer api.GetResponse) error {
	nodes := make([]*yaml.Node, 0, len(answer.Items))
	for _, item := range answer.Items {
		text, err := config.YAMLFromJSON(item.Body)
		if err != nil {
			return err
		}
		var document yaml.Node
		if err := yaml.Unmarshal(text, &document); err != nil {
			return fmt.Errorf("%s: %w", item.Object, err)
		}
		n := document.Content[0]
		n.HeadComment = "from " + item.Source
		if place := strings.TrimPrefix(item.Origin.String(), item.Source+" "); place != "" && place != item.Source {
			n.HeadComment += ", " + place
		}
		nodes = append(nodes, n)
	}
	whole := &yaml.Node{Kind: yaml.MappingNode}
	if request.Name != "" && len(nodes) == 1 {
		whole = nodes[0]
	} else {
		scalar := func(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }
		whole.Content = []*yaml.Node{scalar("apiVersion"), scalar("v1"), scalar("kind"), scalar("List"), scalar("items"),
			{Kind: yaml.SequenceNode, Content: nodes}}
	}
	enc := yaml.NewEncoder(r.Out)
	enc.SetIndent(2)
	if err := enc.Encode(whole); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	return enc.Close()
}

func (r *root) deleteCommand() *cobra.Command {
	var files []string
	var recursive, dryRun bool
	cmd := &cobra.Command{
		Use:               "delete (KIND NAME… | -f FILE…)",
		Short:             "Delete configuration",
		GroupID:           groupConfig,
		Example:           "  lateen delete virtualservice reviews\n  lateen delete -f virtual-service.yaml",
		ValidArgsFunction: completeKinds,
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "delete the objects that these files name")
	f.BoolVarP(&recursive, "recursive", "R", false, "read sub-directories too")
	f.BoolVar(&dryRun, "dry-run", false, "say what would be deleted")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request, err := r.deleteRequest(args, files, recursive)
		if err != nil {
			return err
		}
		request.DryRun = dryRun
		c := r.client()
		defer c.Close()
		answer, err := c.Delete(cmd.Context(), request)
		if err != nil {
			return r.explainRefusal(err)
		}
		missing := 0
		for _, result := range answer.Results {
			fmt.Fprintf(r.Out, "%s %s\n", result.Object, result.Action)
			if result.Action == api.NotFound {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d objects were not found", missing)
		}
		return nil
	}
	return cmd
}

func (r *root) deleteRequest(args, files []string, recursive bool) (api.DeleteRequest, error) {
	request := api.DeleteRequest{Namespace: r.namespace}
	if len(files) > 0 {
		if len(args) > 0 {
			return request, fmt.Errorf("give either -f or a kind and names, not both")
		}
		read, err := r.readFiles(files, recursive)
		request.Files = read
		return request, err
	}
	if len(args) < 2 {
		return request, fmt.Errorf("name a kind and at least one object, or files with -f")
	}
	kind, ok := config.ParseKind(args[0])
	if !ok {
		return request, fmt.Errorf("%q is not a kind; see lateen get --help", args[0])
	}
	for _, name := range args[1:] {
		ref := config.Ref{Kind: kind.String(), Namespace: r.namespace, Name: name}
		if kind.ClusterScoped() {
			ref.Namespace = ""
		}
		request.Objects = append(request.Objects, ref)
	}
	return request, nil
}

package cli

import (
	"context"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/analysis"
	"lateen.dev/lateen/config/validation"
	"lateen.dev/lateen/source/api"
)

// liveObjects reads everything that is live, through the local API.
func (r *root) liveObjects(ctx context.Context) ([]*config.Object, error) {
	c := r.client()
	defer c.Close()
	answer, err := c.Get(ctx, api.GetRequest{Kind: "all", AllNamespaces: true})
	if err != nil {
		return nil, r.explainRefusal(err)
	}
	var objects []*config.Object
	for _, item := range answer.Items {
		name := item.Origin.String()
		if name == "" {
			name = item.Source
		}
		decoded := config.Decode(item.Body, config.DecodeOptions{File: name, Source: item.Source})
		for _, o := range decoded.Objects() {
			moved := *o
			moved.Origin = config.Origin{Source: item.Source, Position: item.Origin}
			objects = append(objects, &moved)
		}
	}
	return objects, nil
}

// analyseFiles judges the files' objects alone, then all together with the
// live ones, which the files' replace.
func analyseFiles(files []api.File, live []*config.Object, namespace string) config.Problems {
	var problems config.Problems
	set := map[config.Key]*config.Object{}
	for _, o := range live {
		set[o.Key] = o
	}
	for _, f := range files {
		decoded := config.Decode([]byte(f.Data), config.DecodeOptions{File: f.Name, Namespace: namespace})
		problems = append(problems, decoded.Problems()...)
		for _, o := range decoded.Objects() {
			problems = append(problems, validation.Validate(o)...)
			set[o.Key] = o
		}
	}
	all := make([]*config.Object, 0, len(set))
	for _, o := range set {
		all = append(all, o)
	}
	problems = append(problems, analysis.Analyze(all)...)
	return problems.Sorted()
}

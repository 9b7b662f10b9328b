package cli

import (
	"context"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/analysis"
	"lateen.dev/lateen/config/validation"
	"lateen.dev/lateen/source/api"
)

// liveProblems is what the control plane finds wrong with what is live.
func (r *root) liveProblems(ctx context.Context) (config.Problems, error) {
	c := r.client()
	defer c.Close()
	answer, err := c.Problems(ctx)
	return answer.Problems, err
}

// live reads everything that is live, through the local API, and what sources
// complain about: documents that they could not use.
func (r *root) live(ctx context.Context) ([]*config.Object, config.Problems, error) {
	c := r.client()
	defer c.Close()
	complaints, err := c.SourceProblems(ctx)
	if err != nil {
		return nil, nil, err
	}
	answer, err := c.Get(ctx, api.GetRequest{Kind: "all", AllNamespaces: true})
	if err != nil {
		return nil, nil, r.explainRefusal(err)
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
	return objects, complaints.Problems, nil
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
	return append(problems, analysis.Analyze(all)...)
}

package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/validation"
	"lateen.dev/lateen/source/api"
	"lateen.dev/lateen/source/files"
)

// wish is one object to be stored, with its text.
type wish struct {
	object *config.Object
	text   []byte
}

// request is an apply that has been read and found good.
type request struct {
	wishes   []wish
	ignored  []api.Result
	problems config.Problems
}

// Apply creates and replaces objects. If any has an error, nothing is written
// and the error is an *api.Error with the problems.
func (s *Store) Apply(ctx context.Context, r api.ApplyRequest) (api.ApplyResponse, error) {
	req, err := read(r.Files, r.Namespace)
	if err != nil {
		return api.ApplyResponse{}, err
	}
	resp := api.ApplyResponse{Revision: s.Revision(), Problems: req.problems}
	if r.DryRun {
		resp.Problems = append(resp.Problems, s.warnings.about(s.live, req.wishes)...)
		resp.Results = append(s.preview(req.wishes), req.ignored...)
		return resp, nil
	}
	var results []api.Result
	resp.Revision, err = s.Edit(ctx, "apply", func(t *files.Tree) ([]files.Content, error) {
		p := newPlan()
		results = nil
		for _, w := range req.wishes {
			result, err := s.put(&p, t, w)
			if err != nil {
				return nil, err
			}
			results = append(results, result)
		}
		return p.write(s.o.State)
	})
	if err != nil {
		return api.ApplyResponse{}, fmt.Errorf("apply: %w", err)
	}
	resp.Results = append(results, req.ignored...)
	// These are warnings only: proxies needn't wait for them.
	resp.Problems = append(resp.Problems, s.warnings.about(s.live, req.wishes)...)
	return resp, nil
}

// read decodes and validates an apply's files.
func read(inputs []api.File, namespace string) (request, error) {
	var req request
	first := map[config.Key]config.Position{}
	for _, f := range inputs {
		d := config.Decode([]byte(f.Data), config.DecodeOptions{File: f.Name, Source: "api", Namespace: namespace})
		req.problems = append(req.problems, d.Problems()...)
		for _, doc := range d.Documents {
			for _, item := range doc.Items {
				if item.Ignored {
					req.ignored = append(req.ignored, api.Result{Object: item.Ref, Action: api.Ignored})
				}
				if item.Object == nil {
					continue
				}
				req.problems = append(req.problems, validation.Validate(item.Object)...)
				if pos, twice := first[item.Key]; twice {
					req.problems = append(req.problems, config.Problem{
						Severity: config.Error, Code: config.CodeDuplicateObject.ID, Name: config.CodeDuplicateObject.Name,
						Object: item.Ref, Position: item.Position, Message: "the same object stands at " + pos.String(), Hint: "Remove one of the two",
					})
				}
				first[item.Key] = item.Position
				text, err := document([]byte(f.Data), doc, item.Object)
				if err != nil {
					return request{}, fmt.Errorf("apply %s: %w", item.Ref, err)
				}
				req.wishes = append(req.wishes, wish{item.Object, text})
			}
		}
	}
	if req.problems.HasErrors() {
		n := len(req.problems.AtLeast(config.Error))
		return request{}, &api.Error{Status: http.StatusUnprocessableEntity, ErrorBody: api.ErrorBody{
			Message: fmt.Sprintf("nothing was applied: %d error(s) in the configuration", n), Problems: req.problems.Sorted(),
		}}
	}
	return req, nil
}

func (s *Store) preview(wishes []wish) []api.Result {
	var results []api.Result
	for _, w := range wishes {
		action := api.Created
		if live := s.Object(w.object.Key); live != nil {
			action = api.Configured
			if live.SameContent(w.object) {
				action = api.Unchanged
			}
		}
		results = append(results, api.Result{Object: w.object.Ref(), Action: action})
	}
	return results
}

// plan holds the new contents of files until all are known to be possible.
type plan struct {
	now     map[string][]byte // nil: remove
	before  map[string][]byte // nil: wasn't there
	dropped map[string][]config.Key
}

func newPlan() plan {
	return plan{now: map[string][]byte{}, before: map[string][]byte{}, dropped: map[string][]config.Key{}}
}

// load is the content of a file as planned so far.
func (p *plan) load(path string) ([]byte, error) {
	if data, ok := p.now[path]; ok {
		return data, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = nil, nil
	} else if data == nil {
		data = []byte{}
	}
	if err == nil {
		p.before[path] = data
	}
	return data, err
}

// put plans one object: into the file that has it, else into a new one.
func (s *Store) put(p *plan, t *files.Tree, w wish) (api.Result, error) {
	key := w.object.Key
	live := t.Object(key)
	path := s.newPath(key)
	if holders := t.Holders(key); len(holders) > 0 {
		path = holders[0]
	}
	result := api.Result{Object: key.Ref(), Action: api.Created, File: path}
	data, err := p.load(path)
	if err != nil {
		return result, err
	}
	if live != nil {
		result.Action = api.Configured
		if live.SameContent(w.object) && stored(data, w.object) {
			result.Action = api.Unchanged
			return result, nil
		}
	}
	text, err := fileText(path, w.object, w.text)
	if err == nil {
		data, err = putDocument(data, w.object, text)
	}
	if err != nil {
		return result, fmt.Errorf("%s: %w", path, err)
	}
	if !stored(data, w.object) {
		return result, fmt.Errorf("%s can't be read, so nothing can be added to it; mend or remove the file first", path)
	}
	p.now[path] = data
	return result, nil
}

// stored says whether the file has the object as wished; what is live can be
// the last good version of a document that is broken now.
func stored(data []byte, o *config.Object) bool {
	return slices.ContainsFunc(decode(data).Objects(), o.SameContent)
}

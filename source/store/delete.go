package store

import (
	"context"
	"fmt"
	"net/http"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source/api"
	"lateen.dev/lateen/source/files"
)

// Delete removes objects from the files that hold them. Objects that don't
// exist are reported as api.NotFound, which isn't an error.
func (s *Store) Delete(ctx context.Context, r api.DeleteRequest) (api.DeleteResponse, error) {
	keys, err := targets(r)
	if err != nil {
		return api.DeleteResponse{}, err
	}
	if r.DryRun {
		return s.previewDelete(keys), nil
	}
	var resp api.DeleteResponse
	resp.Revision, err = s.Edit(ctx, "delete", func(t *files.Tree) ([]files.Content, error) {
		p := newPlan()
		resp.Results = nil
		for _, key := range keys {
			result, err := drop(&p, t, key)
			if err != nil {
				return nil, err
			}
			resp.Results = append(resp.Results, result)
		}
		return p.write(s.o.State)
	})
	if err != nil {
		return api.DeleteResponse{}, fmt.Errorf("delete: %w", err)
	}
	return resp, nil
}

// targets lists what a request wants deleted.
func targets(r api.DeleteRequest) ([]config.Key, error) {
	bad := func(format string, args ...any) error {
		return &api.Error{Status: http.StatusBadRequest, ErrorBody: api.ErrorBody{Message: fmt.Sprintf(format, args...)}}
	}
	namespace := r.Namespace
	if namespace == "" {
		namespace = "default"
	}
	var keys []config.Key
	for _, ref := range r.Objects {
		kind, ok := config.ParseKind(ref.Kind)
		if !ok {
			return nil, bad("unknown kind %q", ref.Kind)
		}
		if ref.Name == "" {
			return nil, bad("which %s? Give a name", kind)
		}
		key := config.Key{Kind: kind, Namespace: ref.Namespace, Name: ref.Name}
		switch {
		case kind.ClusterScoped():
			key.Namespace = ""
		case key.Namespace == "":
			key.Namespace = namespace
		}
		keys = append(keys, key)
	}
	for _, f := range r.Files {
		d := config.Decode([]byte(f.Data), config.DecodeOptions{File: f.Name, Namespace: namespace})
		for _, item := range d.Items() {
			switch {
			case item.Ignored:
			case item.Key.Kind == config.UnknownKind || item.Key.Name == "":
				return nil, &api.Error{Status: http.StatusUnprocessableEntity, ErrorBody: api.ErrorBody{
					Message: "nothing was deleted: " + f.Name + " can't be read", Problems: d.Problems(),
				}}
			default:
				keys = append(keys, item.Key)
			}
		}
	}
	return keys, nil
}

func (s *Store) previewDelete(keys []config.Key) api.DeleteResponse {
	live, revision := s.Objects()
	there := map[config.Key]bool{}
	for _, o := range live {
		there[o.Key] = true
	}
	resp := api.DeleteResponse{Revision: revision}
	for _, key := range keys {
		action := api.NotFound
		if there[key] {
			action = api.Deleted
		}
		resp.Results = append(resp.Results, api.Result{Object: key.Ref(), Action: action})
	}
	return resp
}

// drop plans the removal of an object from every file that holds it, so that
// no second copy takes its place.
func drop(p *plan, t *files.Tree, key config.Key) (api.Result, error) {
	result := api.Result{Object: key.Ref(), Action: api.NotFound}
	for _, path := range t.Holders(key) {
		data, err := p.load(path)
		if err != nil {
			return result, err
		}
		left, found, err := dropDocument(data, key)
		if err != nil {
			return result, fmt.Errorf("%s: %w", path, err)
		}
		if !found {
			return result, fmt.Errorf("%s is live, but %s has no document of it that can be read; mend the file first", key.Ref(), path)
		}
		p.now[path] = left
		p.dropped[path] = append(p.dropped[path], key)
		result.Action, result.File = api.Deleted, path
	}
	return result, nil
}

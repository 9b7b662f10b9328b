package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/analysis"
)

// Bounds of requests.
const (
	MaxRequest   = 64 << 20 // bytes of a body
	defaultLimit = 100      // entries of the change log in an answer
	maxLimit     = 10_000
)

// Backend is where the API writes; a store.Store is one. Errors that are an
// *Error are answered as they are, others as internal ones.
type Backend interface {
	Apply(context.Context, ApplyRequest) (ApplyResponse, error)
	Delete(context.Context, DeleteRequest) (DeleteResponse, error)
	Changes(since uint64, limit int) (ChangesResponse, error)
}

// Live is where the API reads: what all sources together hold.
type Live interface {
	// Objects are the live objects, and the revision of the Backend that they
	// have.
	Objects() ([]*config.Object, uint64)
	// Problems are the sources' complaints; the API adds what analysis says.
	Problems() config.Problems
}

// handler serves the API. It has no state of its own.
type handler struct {
	backend Backend
	live    Live
}

// NewHandler returns the API as a handler. The caller serves it on a socket
// that only its owner may open: the API itself asks nobody who they are.
func NewHandler(b Backend, l Live) http.Handler {
	h := handler{b, l}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+PathApply, h.apply)
	mux.HandleFunc("POST "+PathDelete, h.delete)
	mux.HandleFunc("GET "+PathObjects, h.objects)
	mux.HandleFunc("GET "+PathProblems, h.problems)
	mux.HandleFunc("GET "+PathChanges, h.changes)
	return mux
}

func (h handler) apply(w http.ResponseWriter, r *http.Request) {
	var req ApplyRequest
	if !receive(w, r, &req) {
		return
	}
	resp, err := h.backend.Apply(r.Context(), req)
	answer(w, resp, err)
}

func (h handler) delete(w http.ResponseWriter, r *http.Request) {
	var req DeleteRequest
	if !receive(w, r, &req) {
		return
	}
	resp, err := h.backend.Delete(r.Context(), req)
	answer(w, resp, err)
}

func (h handler) problems(w http.ResponseWriter, r *http.Request) {
	objects, revision := h.live.Objects()
	ps := h.live.Problems()
	if r.URL.Query().Get("analysis") != "false" {
		ps = append(ps, analysis.Analyze(objects)...)
	}
	ps = ps.Sorted()
	if ps == nil {
		ps = config.Problems{}
	}
	answer(w, ProblemsResponse{Revision: revision, Problems: ps}, nil)
}

func (h handler) changes(w http.ResponseWriter, r *http.Request) {
	since, err := number(r, "since", 0)
	if err != nil {
		answer(w, nil, err)
		return
	}
	limit, err := number(r, "limit", defaultLimit)
	if err != nil {
		answer(w, nil, err)
		return
	}
	resp, err := h.backend.Changes(since, int(min(limit, maxLimit)))
	answer(w, resp, err)
}

func (h handler) objects(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	req := GetRequest{Kind: q.Get("kind"), Name: q.Get("name"), Namespace: q.Get("namespace"), AllNamespaces: q.Get("all") == "true"}
	kinds, err := kindsOf(req.Kind)
	if err != nil {
		answer(w, nil, err)
		return
	}
	objects, revision := h.live.Objects()
	resp, err := get(objects, kinds, req)
	resp.Revision = revision
	answer(w, resp, err)
}

// kindsOf reads a list of kinds as typed, or "all".
func kindsOf(list string) ([]config.Kind, error) {
	if list == "all" {
		return config.Kinds(), nil
	}
	var kinds []config.Kind
	for name := range strings.SplitSeq(list, ",") {
		kind, ok := config.ParseKind(strings.TrimSpace(name))
		if !ok {
			return nil, fail(http.StatusBadRequest, "there is no kind %q; known: %s", name, strings.Join(kindNames(), ", "))
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

func kindNames() []string {
	var names []string
	for _, k := range config.Kinds() {
		names = append(names, k.Plural())
	}
	return names
}

// get selects objects and shows them.
func get(objects []*config.Object, kinds []config.Kind, req GetRequest) (GetResponse, error) {
	if req.Namespace == "" {
		req.Namespace = "default"
	}
	objects = slices.SortedFunc(slices.Values(objects), func(a, b *config.Object) int { return a.Compare(b.Key) })
	resp := GetResponse{Items: []Item{}, Tables: []Table{}}
	for _, kind := range kinds {
		table := newTable(kind, req.AllNamespaces)
		for _, o := range objects {
			here := o.Namespace == req.Namespace || req.AllNamespaces || kind.ClusterScoped()
			if kind == config.MeshConfig && req.Namespace == "default" {
				here = true // there is one, wherever it lives
			}
			if o.Kind != kind || !here || req.Name != "" && o.Name != req.Name {
				continue
			}
			body, err := o.MarshalJSON()
			if err != nil {
				return GetResponse{}, err
			}
			resp.Items = append(resp.Items, Item{
				Object: o.Ref(), Source: o.Origin.Source, Origin: o.Origin.Position, Created: o.Created, Body: body,
			})
			table.add(o)
		}
		if len(table.Rows) > 0 {
			resp.Tables = append(resp.Tables, table.Table)
		}
	}
	if req.Name != "" && len(resp.Items) == 0 {
		where := " in namespace " + req.Namespace
		if req.AllNamespaces {
			where = ""
		}
		return GetResponse{}, fail(http.StatusNotFound, "there is no %s %q%s", kinds[0], req.Name, where)
	}
	return resp, nil
}

// number reads a number from the query.
func number(r *http.Request, name string, unset uint64) (uint64, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return unset, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fail(http.StatusBadRequest, "%s: %q is no number", name, s)
	}
	return n, nil
}

func fail(status int, format string, args ...any) error {
	return &Error{Status: status, ErrorBody: ErrorBody{Message: fmt.Sprintf(format, args...)}}
}

// receive reads a request's body. When it can't, it answers and returns false.
func receive(w http.ResponseWriter, r *http.Request, into any) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		err = dec.Decode(into)
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		answer(w, nil, fail(http.StatusRequestEntityTooLarge, "the request is larger than %d MiB", MaxRequest>>20))
	case err != nil:
		answer(w, nil, fail(http.StatusBadRequest, "the request can't be read: %v", err))
	}
	return err == nil
}

// answer sends a value, or an error if there is one. A caller that has gone
// away can't be told anything, so failures to write are nobody's business.
func answer(w http.ResponseWriter, value any, err error) {
	status := http.StatusOK
	if err != nil {
		e := &Error{Status: http.StatusInternalServerError, ErrorBody: ErrorBody{Message: err.Error()}}
		errors.As(err, &e)
		status, value = e.Status, e.ErrorBody
	}
	body, err := json.Marshal(value)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"message":"the answer can't be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

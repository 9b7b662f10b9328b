package api

import (
	"encoding/json"
	"time"

	"lateen.dev/lateen/config"
)

// Paths of the API. Every body is JSON.
const (
	PathApply    = "/v1/apply"    // POST ApplyRequest → ApplyResponse
	PathObjects  = "/v1/objects"  // GET ?kind=&name=&namespace=&all= → GetResponse
	PathDelete   = "/v1/delete"   // POST DeleteRequest → DeleteResponse
	PathProblems = "/v1/problems" // GET → ProblemsResponse; ?analysis=false leaves out what analysis finds
	PathChanges  = "/v1/changes"  // GET ?since=&limit= → ChangesResponse
)

// File is one input of an apply: a name for messages, and YAML or JSON text.
type File struct {
	Name string `json:"name"`
	Data string `json:"data"`
}

// ApplyRequest asks for every object in Files to be created or replaced.
// Nothing is written when any of them has an error.
type ApplyRequest struct {
	Files []File `json:"files"`
	// Namespace is where objects without a namespace go; "default" when empty.
	Namespace string `json:"namespace,omitempty"`
	// DryRun checks everything and says what would be done.
	DryRun bool `json:"dryRun,omitempty"`
}

// Action is what an apply or delete did to an object.
type Action string

// Actions, in kubectl's words.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Deleted    Action = "deleted"
	NotFound   Action = "not found"
	Ignored    Action = "ignored" // a known kind that means nothing here
)

// Result is what happened to one object.
type Result struct {
	Object config.Ref `json:"object"`
	Action Action     `json:"action"`
	// File is where the object stands now.
	File string `json:"file,omitempty"`
}

// ApplyResponse says what an apply did. Problems hold warnings and information.
type ApplyResponse struct {
	// Revision is the configuration's revision with the change in it; waiting
	// for every proxy to have it is waiting for the change.
	Revision uint64          `json:"revision"`
	Results  []Result        `json:"results"`
	Problems config.Problems `json:"problems,omitempty"`
}

// GetRequest selects objects. Kind is any name that config.ParseKind accepts,
// several with commas, or "all".
type GetRequest struct {
	Kind      string
	Name      string
	Namespace string
	// AllNamespaces overrides Namespace.
	AllNamespaces bool
}

// Item is one object in an answer.
type Item struct {
	Object config.Ref `json:"object"`
	// Source and Origin say who brought it and where it stands.
	Source string          `json:"source"`
	Origin config.Position `json:"origin"`
	// Created is metadata.creationTimestamp, zero when unknown.
	Created time.Time `json:"created,omitzero"`
	// Body is the whole object in Kubernetes' shape.
	Body json.RawMessage `json:"body"`
}

// Table is a listing for people.
type Table struct {
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

// GetResponse holds the selected objects, and one table per kind in the order
// of the kinds asked for.
type GetResponse struct {
	Revision uint64  `json:"revision"`
	Items    []Item  `json:"items"`
	Tables   []Table `json:"tables"`
}

// DeleteRequest names objects to delete: by key, or by the documents in Files.
type DeleteRequest struct {
	Objects []config.Ref `json:"objects,omitempty"`
	Files   []File       `json:"files,omitempty"`
	// Namespace is where documents without a namespace belong.
	Namespace string `json:"namespace,omitempty"`
	DryRun    bool   `json:"dryRun,omitempty"`
}

// DeleteResponse says what a delete did.
type DeleteResponse struct {
	Revision uint64   `json:"revision"`
	Results  []Result `json:"results"`
}

// ProblemsResponse holds the present complaints about the live configuration.
type ProblemsResponse struct {
	Revision uint64          `json:"revision"`
	Problems config.Problems `json:"problems"`
}

// Entry is one line of the change log.
type Entry struct {
	Revision uint64     `json:"revision"`
	Time     time.Time  `json:"time"`
	Action   Action     `json:"action"`
	Key      config.Key `json:"key"`
	// Via is how the change came: "apply", "delete", "file" (edited on disk).
	Via  string `json:"via"`
	File string `json:"file,omitempty"`
	// Body is the object after the change, absent when deleted.
	Body json.RawMessage `json:"body,omitempty"`
}

// ChangesResponse holds entries of the change log, oldest first.
type ChangesResponse struct {
	Entries []Entry `json:"entries"`
	// Oldest is the first revision that the log still has.
	Oldest uint64 `json:"oldest"`
}

// ErrorBody is the body of every answer that isn't 2xx.
type ErrorBody struct {
	Message  string          `json:"message"`
	Problems config.Problems `json:"problems,omitempty"`
}

// Error is a failed request as the client returns it.
type Error struct {
	Status int
	ErrorBody
}

// Error gives the message; the problems are for the caller to print.
func (e *Error) Error() string { return e.Message }

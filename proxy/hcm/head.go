package hcm

import (
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
)

// head is a request's head for matchers and for access logs.
type head struct {
	h      *http1.Head
	scheme string
	buf    []byte // for headers that are given several times
	rec    *telemetry.Record
}

var (
	_ plan.Head         = (*head)(nil)
	_ plan.Values       = (*head)(nil)
	_ telemetry.Headers = (*head)(nil)
	_ telemetry.Headers = (*fields)(nil)
)

var (
	textHTTP  = []byte("http")
	textHTTPS = []byte("https")
)

// Method implements plan.Head.
func (h *head) Method() []byte { return h.h.MethodName }

// Scheme implements plan.Head.
func (h *head) Scheme() []byte {
	if h.scheme == "https" {
		return textHTTPS
	}
	return textHTTP
}

// Authority implements plan.Head.
func (h *head) Authority() []byte { return h.h.Authority }

// Path implements plan.Head.
func (h *head) Path() []byte { return h.h.Path }

// Header implements plan.Head.
func (h *head) Header(name header.Name) ([]byte, bool) {
	v := h.h.Combined(h.buf, name)
	if v == nil {
		return nil, false
	}
	return v, true
}

// NextValue implements plan.Values.
func (h *head) NextValue(name header.Name, after int) ([]byte, int) {
	i := -1
	if after < 0 {
		i = h.h.First(name)
	} else {
		i = h.h.Next(after, name)
	}
	if i < 0 {
		return nil, -1
	}
	return h.h.Fields[i].Value, i
}

// Get implements telemetry.Headers.
func (h *head) Get(name string) ([]byte, bool) { return get(&h.h.List, name) }

// fields are a message's fields for access logs.
type fields struct{ *header.List }

// Get implements telemetry.Headers.
func (f *fields) Get(name string) ([]byte, bool) { return get(f.List, name) }

func get(l *header.List, name string) ([]byte, bool) {
	for i := range l.Fields {
		f := &l.Fields[i]
		if !f.Removed && header.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return nil, false
}

// responseHead is a response's head for matchers.
type responseHead struct{ list *header.List }

// Method implements plan.Head: responses have none.
func (responseHead) Method() []byte { return nil }

// Scheme implements plan.Head: responses have none.
func (responseHead) Scheme() []byte { return nil }

// Authority implements plan.Head: responses have none.
func (responseHead) Authority() []byte { return nil }

// Path implements plan.Head: responses have none.
func (responseHead) Path() []byte { return nil }

// Header implements plan.Head.
func (r responseHead) Header(name header.Name) ([]byte, bool) {
	v := r.list.Value(name)
	return v, v != nil
}

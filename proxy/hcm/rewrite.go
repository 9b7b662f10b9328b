package hcm

import (
	"math/rand/v2"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/route"
	"lateen.dev/lateen/wire/header"
)

// hash computes what consistent hashing chooses by, making a cookie where the policy wants one.
func (s *stream) hash(policies []plan.HashPolicy) {
	r := &s.router
	at := len(s.arena)
	s.arena = appendHex(s.arena, rand.Uint64())
	made := s.arena[at:len(s.arena):len(s.arena)]
	r.choice.Hash, r.choice.HasHash, r.cookie = route.Hash(policies, &s.input, made)
	r.cookieV = made
}

func appendHex(dst []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for i := 60; i >= 0; i -= 4 {
		dst = append(dst, digits[v>>i&15])
	}
	return dst
}

var (
	originalPath  = header.NewName("x-envoy-original-path")
	originalHost  = header.NewName("x-envoy-original-host")
	forwardedHost = header.NewName("x-forwarded-host")
)

// rewrite changes path and authority.
func (s *stream) rewrite() {
	d, h := &s.decision, s.req
	authority, changed := d.Authority(&s.head)
	if d.RewritesPath() {
		old := h.Path
		at := len(s.arena)
		s.arena = d.AppendPath(s.arena, old)
		h.Path = s.arena[at:len(s.arena):len(s.arena)]
		s.rec.Path, s.rec.OriginalURI = h.Path, old
		if !s.suppressed() {
			h.Set(originalPath, old)
		}
	}
	if changed {
		s.replaceAuthority(authority)
	}
	s.router.autoHost = d.Action.Rewrite.AutoHost
}

// replaceAuthority rewrites the authority, and tells the server what it was.
func (s *stream) replaceAuthority(to []byte) {
	h := s.req
	if s.decision.Action.AppendXForwardedHost && len(h.Authority) > 0 {
		value := h.Authority
		if old := h.Value(forwardedHost); len(old) > 0 {
			value = s.keep(old, comma, value)
		}
		h.Set(forwardedHost, value)
	}
	if !s.suppressed() {
		h.Set(originalHost, h.Authority)
	}
	h.Authority = to
}

func (s *stream) suppressed() bool {
	return s.m.filter.router != nil && s.m.filter.router.SuppressEnvoyHeaders
}

var digits = func() (d [10][]byte) {
	for i := range d {
		d[i] = []byte{byte('0' + i)}
	}
	return d
}()

func (s *stream) attemptHeader() {
	n := int(s.router.attempts) + 1
	if n < len(digits) {
		s.req.SetKnown(header.XEnvoyAttemptCount, digits[n])
		return
	}
	s.req.SetKnown(header.XEnvoyAttemptCount, s.decimal(int64(n)))
}

func (s *stream) decimal(n int64) []byte {
	at := len(s.arena)
	s.arena = appendDecimal(s.arena, n)
	return s.arena[at:len(s.arena):len(s.arena)]
}

// expectedTimeout tells the upstream how long we wait for it.
func (s *stream) expectedTimeout() {
	t := s.router.timeouts.Global
	if p := s.router.timeouts.PerTry; p > 0 {
		t = p
	}
	if t > 0 && !s.suppressed() {
		s.req.SetKnown(header.XEnvoyExpectedRqTimeoutMS, s.decimal(t.Milliseconds()))
	}
}

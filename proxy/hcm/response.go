package hcm

import (
	"strconv"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/filter/cors"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
)

// finalHeaders adds what every response gets. proxied says that it comes from an upstream.
func (s *stream) finalHeaders(h *http1.Head, proxied bool) {
	m := s.m
	switch m.cfg.ServerHeader {
	case plan.ServerOverwrite:
		h.SetKnown(header.Server, m.serverName)
	case plan.ServerAppendIfAbsent:
		if !h.Has(header.Server) {
			h.AddKnown(header.Server, m.serverName)
		}
	case plan.ServerPassThrough:
		if !proxied {
			h.SetKnown(header.Server, m.serverName)
		}
	}
	if !h.Has(header.Date) {
		h.AddKnown(header.Date, m.engine.stamps.date())
	}
	if m.cfg.Identity.AlwaysSetInResponse {
		if id := s.req.Get(header.XRequestID); id != nil {
			h.SetKnown(header.XRequestID, id)
		}
	}
	if len(m.via) > 0 {
		h.AddKnown(header.Via, m.via)
	}
	if s.corsOK && proxied {
		cors.ResponseHeaders(&h.List, s.corsRule, cors.Origin(&s.head))
	}
	if c := s.router.cookie; c != nil {
		h.AddKnown(header.SetCookie, cookieOf(c, s.router.cookieV))
	}
	if vh := s.decision.VirtualHost; vh != nil && vh.IncludeAttemptCountInResponse && s.router.attempts > 0 {
		h.SetKnown(header.XEnvoyAttemptCount, s.decimal(int64(s.router.attempts)))
	}
}

func cookieOf(p *plan.HashPolicy, value []byte) []byte {
	c := append(append([]byte(p.Name), `="`...), value...)
	c = append(c, '"')
	if p.CookieTTL > 0 {
		c = strconv.AppendInt(append(c, "; Max-Age="...), int64(p.CookieTTL/time.Second), 10)
	}
	if p.CookiePath != "" {
		c = append(append(c, "; Path="...), p.CookiePath...)
	}
	return append(append(c, p.CookieAttributes...), "; HttpOnly"...)
}

// stamp is the date of one second.
type stamp struct {
	second int64
	text   []byte
}

// stamps spares the formatting of the date for all responses of a second but one. Whoever finds it old replaces it, and
// it does not matter who wins.
type stamps struct{ last atomic.Pointer[stamp] }

// date is the value of the date header.
func (st *stamps) date() []byte {
	now := time.Now()
	if d := st.last.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"
	d := &stamp{second: now.Unix(), text: now.UTC().AppendFormat(nil, httpDate)}
	st.last.Store(d)
	return d.text
}

func appendDecimal(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

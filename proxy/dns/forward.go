package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	miekg "github.com/miekg/dns"
)

var (
	errBusy       = errors.New("too many questions under way")
	errNoResolver = errors.New("no resolver is configured")
)

// forward asks the machine's resolvers, one after the other. It always returns
// an answer to send: SERVFAIL when nobody gave one.
func (s *Server) forward(ctx context.Context, q *miekg.Msg) *miekg.Msg {
	select {
	case s.forwards <- struct{}{}:
		defer func() { <-s.forwards }()
	default:
		s.metrics.Upstream(0, errBusy)
		return refusal(q, miekg.RcodeServerFailure)
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	began := time.Now()
	reply, err := s.ask(ctx, q)
	s.metrics.Upstream(time.Since(began), err)
	if reply == nil {
		return refusal(q, miekg.RcodeServerFailure)
	}
	reply.Id = q.Id
	return unsigned(reply)
}

// ask returns the first good answer, else the last bad one (SERVFAIL, REFUSED).
func (s *Server) ask(ctx context.Context, q *miekg.Msg) (bad *miekg.Msg, err error) {
	servers := s.resolvers.Load().Servers
	err = errNoResolver
	for i, server := range servers {
		// What is left is shared, so that a dead resolver can't use up the
		// time of the living.
		deadline, _ := ctx.Deadline()
		share := time.Until(deadline) / time.Duration(len(servers)-i)
		tryCtx, cancel := context.WithTimeout(ctx, share)
		reply, tryErr := s.exchange(tryCtx, server, q)
		cancel()
		if tryErr != nil {
			err = fmt.Errorf("resolver %s: %w", server, tryErr)
			continue
		}
		if reply.Rcode != miekg.RcodeServerFailure && reply.Rcode != miekg.RcodeRefused {
			return reply, nil
		}
		bad, err = reply, fmt.Errorf("resolver %s: %s", server, miekg.RcodeToString[reply.Rcode])
	}
	return bad, err
}

// exchange asks one resolver over UDP, and over TCP if the answer was cut.
func (s *Server) exchange(ctx context.Context, server netip.AddrPort, q *miekg.Msg) (*miekg.Msg, error) {
	reply, err := s.exchangeOver(ctx, "udp", server, q)
	if err == nil && reply.Truncated {
		return s.exchangeOver(ctx, "tcp", server, q)
	}
	return reply, err
}

// exchangeOver uses a socket of its own for each question: its random port,
// with the random id, is what keeps forged answers out (RFC 5452).
func (s *Server) exchangeOver(ctx context.Context, network string, server netip.AddrPort, q *miekg.Msg) (*miekg.Msg, error) {
	raw, err := s.dial(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &miekg.Conn{Conn: raw, UDPSize: miekg.MaxMsgSize}
	ours := unsigned(q.Copy())
	ours.Id = miekg.Id()
	if err := conn.WriteMsg(ours); err != nil {
		return nil, cause(ctx, err)
	}
	for {
		reply, err := conn.ReadMsg()
		if err != nil {
			if network == "udp" && (reply != nil || errors.Is(err, miekg.ErrShortRead)) {
				continue // not DNS; the real answer may still come
			}
			return nil, cause(ctx, err)
		}
		if answers(reply, ours) {
			return reply, nil
		}
		if network == "tcp" {
			return nil, errors.New("an answer to another question")
		}
	}
}

// unsigned takes away a transaction signature, which covers the id that we change.
func unsigned(m *miekg.Msg) *miekg.Msg {
	if m.IsTsig() != nil {
		m.Extra = m.Extra[:len(m.Extra)-1]
	}
	return m
}

func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// answers says whether a reply belongs to our question.
func answers(reply, ours *miekg.Msg) bool {
	if !reply.Response || reply.Id != ours.Id || len(reply.Question) != 1 {
		return false
	}
	got, want := reply.Question[0], ours.Question[0]
	return got.Qtype == want.Qtype && got.Qclass == want.Qclass && canonical(got.Name) == canonical(want.Name)
}

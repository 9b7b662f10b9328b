package hcm

import (
	"sync"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/overload"
	"lateen.dev/lateen/wire/http2"
	"lateen.dev/lateen/wire/sock"
)

// alarm is the one timer of a connection's relays, set for the earliest of their deadlines. Deadlines mostly move
// away, or their streams end long before: nobody tells the timer, it looks when it goes off.
type alarm struct {
	relays []*stream
	timer  *time.Timer
	at     sock.Instant // when timer goes off; 0 is never
	firing sync.WaitGroup
	over   bool
}

// watch sees to it that the alarm goes off by the relay's deadline.
func (s *stream) watch() {
	at := s.due()
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &c.alarm
	if s.relay.slot == 0 {
		a.relays = append(a.relays, s)
		s.relay.slot = len(a.relays)
	}
	c.armLocked(at)
}

// unwatch takes the relay off the alarm's list.
func (s *stream) unwatch() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.relay.slot == 0 {
		return
	}
	list := c.alarm.relays
	last := len(list) - 1
	list[s.relay.slot-1] = list[last]
	list[last].relay.slot = s.relay.slot
	list[last] = nil
	c.alarm.relays = list[:last]
	s.relay.slot = 0
}

// armLocked sets the timer if at comes before it.
func (c *conn) armLocked(at sock.Instant) {
	a := &c.alarm
	if at == 0 || a.over || a.at != 0 && a.at <= at {
		return
	}
	a.at = at
	wait := max(0, at.Sub(sock.Now()))
	if a.timer == nil {
		a.firing.Add(1)
		a.timer = time.AfterFunc(wait, c.ring)
		return
	}
	if !a.timer.Stop() {
		a.firing.Add(1)
	}
	a.timer.Reset(wait)
}

// stopAlarm ends the alarm when the connection has ended, and waits for it.
func (c *conn) stopAlarm() {
	c.mu.Lock()
	a := &c.alarm
	a.over = true
	if a.timer != nil && a.timer.Stop() {
		a.firing.Done()
	}
	c.mu.Unlock()
	a.firing.Wait()
}

// ring looks whose time is up.
func (c *conn) ring() {
	defer c.alarm.firing.Done()
	defer c.m.engine.contain(relayName)
	c.mu.Lock()
	c.alarm.at = 0
	list := append([]*stream(nil), c.alarm.relays...)
	c.mu.Unlock()
	var b http2.Batch
	next := sock.Instant(0)
	for _, s := range list {
		if at := s.expire(c, &b); at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	b.Flush()
	c.mu.Lock()
	c.armLocked(next)
	c.mu.Unlock()
}

// expire ends the relay if its time is up, and returns its deadline otherwise. By now the stream may be another one.
func (s *stream) expire(c *conn, b *http2.Batch) sock.Instant {
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if s.relay.down == nil || s.c != c {
		return 0
	}
	at := s.due()
	if at == 0 || sock.Now() < at {
		return at
	}
	s.down2.Pass(b)
	switch {
	case s.router.complete: // and the client doesn't take it
		s.gone.Store(true)
		s.end(b)
	case s.answered:
		s.broke(b, exchange.ErrTimeout)
	case s.late():
		s.relay.counted = false
		s.handOver(b, func(s *stream) {
			defer s.finish()
			defer s.router.cluster.EndRequest(s.decision.Action.Priority)
			s.lateBody()
			s.down.Reset()
		})
	default:
		_, flag, detail := s.waitDeadline(s.relay.began, s.relay.active)
		s.handTries(b, s.timedOut(flag, detail), true)
	}
	return 0
}

// late tells whether the client has taken too long over its request.
func (s *stream) late() bool {
	d := s.m.cfg.Timeouts.Request
	return d > 0 && !s.router.whole && sock.Now() >= s.start.Add(d)
}

// due is when the relay's time is up; 0 is never.
func (s *stream) due() (at sock.Instant) {
	r := &s.router
	switch {
	case r.complete:
		if d := s.c.reduced(overload.StreamFlush, r.flush); d > 0 {
			at = s.relay.active.Add(d)
		}
		return at
	case s.answered:
		at = r.deadline
		if d := s.c.reduced(overload.StreamIdle, r.idle); d > 0 && (at == 0 || s.relay.active.Add(d) < at) {
			at = s.relay.active.Add(d)
		}
		return at
	}
	at, _, _ = s.waitDeadline(s.relay.began, s.relay.active)
	if d := s.m.cfg.Timeouts.Request; d > 0 && !r.whole && (at == 0 || s.start.Add(d) < at) {
		at = s.start.Add(d)
	}
	return at
}

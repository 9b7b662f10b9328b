package server

import (
	"errors"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

// Difference is a resource of which a client does not have what it shall have.
type Difference = machine.Difference

// ErrGone says that a stream has ended.
var ErrGone = errors.New("the client is not connected any more")

// Differences compares what a stream's client has acknowledged with what it shall
// have now, resource by resource, in the order of types and names. It lists most
// of them at most, and returns how many there are.
func (l *Ledger) Differences(stream uint64, most int) (list []Difference, total int, err error) {
	err = l.ask(stream, func(m *machine.Machine, _ *xds.State) { list, total = m.Differences(most) })
	return list, total, err
}

// Wanted is what a stream's client shall have now, and of what is had by name only
// what it has asked for.
func (l *Ledger) Wanted(stream uint64) (state *xds.State, err error) {
	err = l.ask(stream, func(m *machine.Machine, now *xds.State) { state = m.Wanted(now) })
	return state, err
}

// Names are what a stream's client has subscribed to, of each type by its URL;
// xds.Wildcard for all of a type. Of one type it lists most at most.
func (l *Ledger) Names(stream uint64, most int) (names map[string][]string, err error) {
	err = l.ask(stream, func(m *machine.Machine, _ *xds.State) { names = m.Names(most) })
	return names, err
}

func (l *Ledger) ask(stream uint64, question func(*machine.Machine, *xds.State)) error {
	l.mu.Lock()
	r := l.clients[stream]
	l.mu.Unlock()
	if r == nil {
		return ErrGone
	}
	return r.stream.ask(question)
}

// ask answers a question about the machine and the state that the client shall have.
func (st *stream) ask(question func(*machine.Machine, *xds.State)) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ended {
		return ErrGone
	}
	question(st.machine, st.state)
	return nil
}

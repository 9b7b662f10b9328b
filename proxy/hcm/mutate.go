package hcm

import (
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

// mutate applies header mutations.
func (s *stream) mutate(l *header.List, list []plan.HeaderMutation) {
	for i := range list {
		m := &list[i]
		if m.Name.IsAuthority() {
			if !m.Remove && l == &s.req.List {
				s.req.Authority = s.format(&m.Value)
			}
			continue
		}
		if m.Name.IsPseudo() {
			continue
		}
		if m.Remove {
			l.RemoveName(m.Name.Name)
			continue
		}
		v := s.format(&m.Value)
		if len(v) == 0 && !m.KeepEmpty || !header.ValidValue(v) {
			continue
		}
		has := l.First(m.Name.Name) >= 0
		switch {
		case m.Action == plan.AppendIfExistsOrAdd, m.Action == plan.AddIfAbsent && !has:
			l.AddName(m.Name.Name, v)
		case m.Action == plan.OverwriteIfExistsOrAdd, m.Action == plan.OverwriteIfExists && has:
			l.Set(m.Name.Name, v)
		}
	}
}

// format renders a value into the arena.
func (s *stream) format(f *plan.Format) []byte {
	at := len(s.arena)
	s.arena = f.Append(s.arena, &s.rec)
	return s.arena[at:len(s.arena):len(s.arena)]
}

// keep copies bytes into the arena.
func (s *stream) keep(parts ...[]byte) []byte {
	at := len(s.arena)
	for _, p := range parts {
		s.arena = append(s.arena, p...)
	}
	return s.arena[at:len(s.arena):len(s.arena)]
}

package listen

// Reconsider has connections look at their timeouts again, because they have become shorter.
func (s *Server) Reconsider() {
	for _, acc := range s.connections() {
		if r := acc.relief.Load(); r != nil {
			(*r).Reconsider()
		}
	}
}

// ResetStreams resets streams that hold so many bytes or more, most of them at most, and returns how many it were.
func (s *Server) ResetStreams(bytes int64, most int) int {
	n := 0
	for _, acc := range s.connections() {
		if n >= most {
			break
		}
		if r := acc.relief.Load(); r != nil {
			n += (*r).ResetStreams(bytes, most-n)
		}
	}
	return n
}

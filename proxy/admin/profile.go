package admin

import (
	"fmt"
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"
)

// Lengths of a CPU profile.
const (
	profileSeconds    = 30 // unless asked otherwise, as in net/http/pprof
	maxProfileSeconds = 600
)

// profile records where the process spends its CPU time, and answers with what `go tool pprof` reads. It ends early if
// the client goes or the process ends. One can be recorded at a time.
func (s *server) profile(w http.ResponseWriter, r *http.Request) {
	seconds := profileSeconds
	if v := r.URL.Query().Get("seconds"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxProfileSeconds {
			http.Error(w, fmt.Sprintf("seconds=%s: must be a number from 1 to %d", v, maxProfileSeconds), http.StatusBadRequest)
			return
		}
		seconds = n
	}
	length := time.Duration(seconds) * time.Second
	// Where a deadline can't be moved, a longer profile fails when it is written.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(length + writeTimeout))
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := pprof.StartCPUProfile(w); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile()
	t := time.NewTimer(length)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}

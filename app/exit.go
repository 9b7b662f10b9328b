package app

import "strconv"

// ExitError ends the process with a code and without a message: whoever made
// it has said, or passed on, all there was to say.
type ExitError struct{ Code int }

// Error implements error.
func (e *ExitError) Error() string { return "exit code " + strconv.Itoa(e.Code) }

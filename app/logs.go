package app

import (
	"fmt"
	"io"

	"lateen.dev/lateen/telemetry"
)

// LogOptions are the log flags of a role.
type LogOptions struct {
	Level string // info if empty
	JSON  bool
}

// scopes makes the role's log scopes, writing to out.
func (o LogOptions) scopes(out io.Writer) (*telemetry.Scopes, error) {
	level := o.Level
	if level == "" {
		level = "info"
	}
	l, err := telemetry.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	return telemetry.NewScopes(out, o.JSON, l), nil
}

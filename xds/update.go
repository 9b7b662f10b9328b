package xds

// Update is what a client received in one response, already compared with what
// it had.
type Update struct {
	TypeURL string
	// Version is the server's word for the state of the whole type.
	Version string
	// Added holds the resources that are new or changed, in the server's order.
	Added []*Resource
	// Removed holds the names that are gone, or that were asked for by name and
	// do not exist.
	Removed []string
}

// Refusal says that one resource of an update cannot be used, and why.
type Refusal struct {
	Name string
	Err  error
}

func (r Refusal) Error() string { return r.Name + ": " + r.Err.Error() }

// Unwrap is the reason.
func (r Refusal) Unwrap() error { return r.Err }

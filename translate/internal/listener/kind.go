package listener

import "lateen.dev/lateen/model"

// Kind is what is expected inside the connections of a chain or listener.
type Kind uint8

// Kinds of connections. Of KindAuto nobody said what they are, so their first bytes are looked at.
const (
	KindAuto Kind = iota
	KindHTTP
	KindTCP
)

// KindOf is what a port's declared protocol means.
func KindOf(p model.Protocol) Kind {
	switch {
	case p.IsHTTP():
		return KindHTTP
	case p == model.Unsupported:
		return KindAuto
	default:
		return KindTCP
	}
}

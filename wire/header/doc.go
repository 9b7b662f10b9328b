// Package header holds the header fields of one HTTP message, whichever version it came by.
//
// The codecs (wire/http1, wire/http2) fill a List with views into their read buffers; the proxy's engine looks fields
// up, removes and adds some, and the codec of the other side writes the list out. Well-known names are classified by
// an ID while parsing, so that nothing later compares strings for them; every other name is looked up by a Name that
// was prepared when the configuration was compiled.
//
// Nothing here allocates in steady state. A List belongs to one goroutine. The package starts none.
//
// May import: nothing of ours.
package header

package http1

// Reason says why a message was rejected. It is an error that never allocates. The connection it came by can't be
// used any more: nobody knows where the next message would begin.
type Reason uint8

// The reasons. Each is documented by its text below.
const (
	BadMethod Reason = iota + 1
	BadTarget
	BadVersion
	UnsupportedVersion
	HTTP10NotAccepted
	BadStatusLine
	BadLineEnd
	ObsFold
	BadFieldName
	BadFieldValue
	SpaceBeforeColon
	HeadTooLarge
	TooManyFields
	MissingHost
	DuplicateHost
	BadAuthority
	BadContentLength
	DuplicateContentLength
	BadTransferEncoding
	DuplicateTransferEncoding
	TransferEncodingIn10
	LengthAndEncoding
	BodyNotAllowed
	BadConnectionOption
	BadExpect
	BadChunkSize
	BadChunkExtension
	BadChunkEnd
	ChunkExtensionsTooLarge
	BadTrailer
	ForbiddenTrailer
	TrailersTooLarge
	UnexpectedEnd

	reasonCount
)

type reasonInfo struct {
	status int
	detail string
	text   string
}

var reasons = [reasonCount]reasonInfo{
	BadMethod:          {400, "http1.invalid_method", "the method is not a token"},
	BadTarget:          {400, "http1.invalid_url", "the request target is malformed"},
	BadVersion:         {400, "http1.invalid_version", "the request line does not end in an HTTP version"},
	UnsupportedVersion: {505, "http1.unsupported_version", "the HTTP version is neither 1.0 nor 1.1"},
	HTTP10NotAccepted:  {426, "http1.http_10_not_accepted", "HTTP/1.0 is not accepted by this listener"},
	BadStatusLine:      {502, "http1.invalid_status_line", "the status line is malformed"},
	BadLineEnd:         {400, "http1.invalid_line_end", "a line does not end in CRLF, or a CR stands alone"},
	ObsFold:            {400, "http1.obsolete_line_folding", "a header field is folded over two lines"},
	BadFieldName:       {400, "http1.invalid_header_name", "a header name is empty or not a token"},
	BadFieldValue:      {400, "http1.invalid_header_value", "a header value holds a control character"},
	SpaceBeforeColon:   {400, "http1.space_before_colon", "white space stands between a header name and its colon"},
	HeadTooLarge:       {431, "http1.headers_too_large", "the head is larger than the limit"},
	TooManyFields:      {431, "http1.too_many_headers", "the head has more fields than the limit"},
	MissingHost:        {400, "http1.missing_host_header", "an HTTP/1.1 request has no Host header"},
	DuplicateHost:      {400, "http1.duplicate_host_header", "the request has more than one Host header"},
	BadAuthority:       {400, "http1.invalid_authority", "the host or port is malformed"},
	BadContentLength: {400, "http1.invalid_content_length",
		"Content-Length is not a plain decimal number that fits 63 bits"},
	DuplicateContentLength: {400, "http1.duplicate_content_length", "there is more than one Content-Length"},
	BadTransferEncoding: {501, "http1.invalid_transfer_encoding",
		"Transfer-Encoding is something else than exactly chunked"},
	DuplicateTransferEncoding: {400, "http1.duplicate_transfer_encoding", "there is more than one Transfer-Encoding"},
	TransferEncodingIn10:      {400, "http1.transfer_encoding_in_http_10", "an HTTP/1.0 message has Transfer-Encoding"},
	LengthAndEncoding: {400, "http1.content_length_and_chunked_not_allowed",
		"both Content-Length and Transfer-Encoding are present"},
	BodyNotAllowed: {400, "http1.body_not_allowed",
		"a message that can't have a body announces one (1xx, 204, CONNECT and its 2xx)"},
	BadConnectionOption: {400, "http1.invalid_connection_option",
		"Connection names a header that must not be removed, or is malformed"},
	BadExpect:               {417, "http1.invalid_expect", "Expect is something else than 100-continue"},
	BadChunkSize:            {400, "http1.invalid_chunk_size", "a chunk's size is not a plain hexadecimal number"},
	BadChunkExtension:       {400, "http1.invalid_chunk_extension", "a chunk extension holds a control character"},
	BadChunkEnd:             {400, "http1.invalid_chunk_end", "a chunk's data is not followed by CRLF"},
	ChunkExtensionsTooLarge: {400, "http1.chunk_extensions_too_large", "the chunk extensions are larger than the limit"},
	BadTrailer:              {400, "http1.invalid_trailer", "a trailer field is malformed"},
	ForbiddenTrailer: {400, "http1.forbidden_trailer",
		"a trailer field is one that frames, routes or authenticates a message"},
	TrailersTooLarge: {431, "http1.trailers_too_large", "the trailers are larger or more than the limit"},
	UnexpectedEnd:    {400, "http1.unexpected_end", "the connection ended inside a message"},
}

func (r Reason) info() *reasonInfo {
	if r >= reasonCount {
		r = 0
	}
	return &reasons[r]
}

// Error gives the detail and a sentence.
func (r Reason) Error() string { return r.info().detail + ": " + r.info().text }

// Detail is the short form for access logs' response code details, such as http1.invalid_content_length.
func (r Reason) Detail() string { return r.info().detail }

// Status is the answer to a request that is rejected for this reason. A bad response is always answered with 502.
func (r Reason) Status() int { return r.info().status }

package bookinfo

import "embed"

// Files is the configuration that goes with the sample: services.yaml, and
// what to do with the traffic under networking/.
//
//go:embed services.yaml networking
var Files embed.FS

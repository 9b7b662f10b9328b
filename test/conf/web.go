package conf

import "fmt"

// Web is a route and settings for the service web. Each version differs from the one before it in both. more is added to
// the connection pool's settings, as YAML of one line; it may be "".
func Web(version int, more string) string { return fmt.Sprintf(web, version, 1+version%3, more) }

const web = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - match: [{headers: {churn: {exact: "%d"}}}]
    route: [{destination: {host: web}}]
  - route: [{destination: {host: web}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 100%d}%s}
`

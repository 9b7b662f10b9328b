// Package consul is the source of services that are registered in HashiCorp
// Consul: each service of its catalog is a ServiceEntry for
// NAME.service.consul, whose endpoints are the instances that Consul's health
// checks don't call critical.
//
// It is called by app. Consul is asked with blocking queries, so changes come
// within milliseconds and an idle mesh asks about once a minute; while Consul
// can't be asked, what it said last stays.
//
// Goroutines: Source.Run waits for the end of those that it starts, one for the
// catalog of each datacenter and one for each service. All other methods may be
// called from any goroutine.
//
// May import: config, source (besides lib).
package consul

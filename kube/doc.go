// Package kube will be everything Kubernetes: informers that turn cluster
// objects into config.Object, status writing, webhooks, injection, leader
// election, installation. It is the only room that may import k8s.io and
// sigs.k8s.io, so that nothing else pays for them.
//
// Who calls it: app's control plane role and cli, once there is a cluster to
// speak to; the mesh on one machine does without.
//
// Goroutines: none yet.
//
// May import: config, derive, model, identity, telemetry.
package kube

package server

import (
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
)

// RegisterSecrets adds Envoy's secret discovery service, on whose streams the
// same is served as on aggregated ones.
func (s *Server) RegisterSecrets(r grpc.ServiceRegistrar) {
	secretv3.RegisterSecretDiscoveryServiceServer(r, secretService{server: s})
}

type secretService struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	server *Server
}

// StreamSecrets serves a state-of-the-world client.
func (s secretService) StreamSecrets(st secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	return s.server.serve(sotwTransport{st})
}

// DeltaSecrets serves a delta client.
func (s secretService) DeltaSecrets(st secretv3.SecretDiscoveryService_DeltaSecretsServer) error {
	return s.server.serve(deltaTransport{st})
}

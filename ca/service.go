package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	securityv1 "istio.io/api/security/v1alpha1"

	"lateen.dev/lateen/identity"
)

// Outcome of one certificate request, for counting.
type Outcome string

// The outcomes, by what the request failed at.
const (
	OutcomeIssued          Outcome = "issued"
	OutcomeUnauthenticated Outcome = "authentication"
	OutcomeMalformed       Outcome = "parsing"
	OutcomeBusy            Outcome = "busy"
	OutcomeFailed          Outcome = "signing"
)

// ServiceConfig says who signs for whom.
type ServiceConfig struct {
	Authority     *Authority
	Authenticator *Authenticator
	// Concurrent requests; 64. Further ones are turned away at once.
	Concurrent int
	// Count is called once for each request, from any goroutine.
	Count func(Outcome)
	Log   *slog.Logger
}

// Service is Istio's certificate service.
type Service struct {
	securityv1.UnimplementedIstioCertificateServiceServer
	cfg   ServiceConfig
	slots chan struct{}
}

// NewService makes the service.
func NewService(cfg ServiceConfig) *Service {
	const defaultConcurrent = 64
	if cfg.Concurrent <= 0 {
		cfg.Concurrent = defaultConcurrent
	}
	if cfg.Count == nil {
		cfg.Count = func(Outcome) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg, slots: make(chan struct{}, cfg.Concurrent)}
}

// Register adds the service to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	securityv1.RegisterIstioCertificateServiceServer(r, s)
}

// CreateCertificate signs the request's key for the identity that the caller has
// proven. The answer's last certificate is the root.
func (s *Service) CreateCertificate(ctx context.Context, r *securityv1.IstioCertificateRequest) (*securityv1.IstioCertificateResponse, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.cfg.Count(OutcomeBusy)
		return nil, status.Error(codes.ResourceExhausted, "too many certificate requests at the same time; try again")
	}
	caller, err := s.cfg.Authenticator.Authenticate(ctx)
	if err == nil && caller.ID.IsZero() {
		err = status.Error(codes.Unauthenticated, "a certificate needs a proven identity: a token, or the certificate in force")
	}
	if err != nil {
		s.cfg.Count(OutcomeUnauthenticated)
		s.cfg.Log.Warn("certificate refused", "error", err)
		return nil, err
	}
	issued, err := s.sign(r, caller.ID)
	if err != nil {
		s.cfg.Log.Warn("certificate refused", "id", caller.ID, "error", err)
		return nil, err
	}
	s.cfg.Count(OutcomeIssued)
	s.cfg.Log.Info("certificate issued", "id", caller.ID, "by", caller.Source, "notAfter", issued.Chain[0].NotAfter)
	return &securityv1.IstioCertificateResponse{CertChain: encodeAnswer(issued)}, nil
}

// Metadata keys by which Istio's clients ask for what this authority does not
// do.
const (
	certSignerKey   = "CertSigner"
	impersonatedKey = "ImpersonatedIdentity"
)

func (s *Service) sign(r *securityv1.IstioCertificateRequest, id identity.ID) (*Issued, error) {
	fields := r.GetMetadata().GetFields()
	if who := fields[impersonatedKey].GetStringValue(); who != "" {
		s.cfg.Count(OutcomeUnauthenticated)
		return nil, status.Errorf(codes.PermissionDenied, "%s may not ask for the certificate of %.200q", id, who)
	}
	if signer := fields[certSignerKey].GetStringValue(); signer != "" {
		s.cfg.Count(OutcomeMalformed)
		return nil, status.Errorf(codes.InvalidArgument, "certificate signer %.200q is not known here", signer)
	}
	// What does not fit into a Duration is more than any maximum.
	const longest = int64(maxTTL / time.Second)
	ttl := time.Duration(min(max(r.GetValidityDuration(), 0), longest)) * time.Second
	issued, err := s.cfg.Authority.SignRequest([]byte(r.GetCsr()), id, ttl)
	switch {
	case errors.Is(err, ErrRequest):
		s.cfg.Count(OutcomeMalformed)
		return nil, status.Error(codes.InvalidArgument, err.Error())
	case err != nil:
		s.cfg.Count(OutcomeFailed)
		return nil, status.Errorf(codes.Internal, "certificate for %s: %v", id, err)
	}
	return issued, nil
}

func encodeAnswer(i *Issued) []string {
	var out []string
	for _, c := range i.Chain {
		out = append(out, string(identity.EncodeCertificates([]*x509.Certificate{c})))
	}
	// The roots go into one element, so that a client which takes the last
	// element as what to trust gets all of them.
	return append(out, string(identity.EncodeCertificates(i.Roots)))
}

# The house commands. `make help` lists them; the README tells a newcomer the
# two that matter.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
GO ?= go
# The version is the last tag, or the commit.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X lateen.dev/lateen/app.version=$(VERSION) -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# How long each fuzzer runs in `make fuzz`; `make test` gives each some thousand inputs.
FUZZTIME ?= 30s

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the commands
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/lateen, bin/lateen-proxy and the sample application
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/... ./samples/bookinfo/cmd/bookinfo

.PHONY: demo
demo: build ## build everything and run Bookinfo in a mesh on this machine
	./bin/lateen demo

.PHONY: test
test: ## everything that CI runs: install what it needs, lint, tests with -race, fuzz smoke, delivery in short, the demo's checks
	./test/run-all.sh

.PHONY: lint
lint: ## gofmt, go vet, staticcheck and the walls between the rooms
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "gofmt -w $$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -count=1 ./test/arch

.PHONY: fuzz
fuzz: ## run every fuzzer for FUZZTIME (default 30s)
	./test/fuzz-all.sh $(FUZZTIME)

.PHONY: golden
golden: ## refresh the golden files; look at the diff before you commit it
	$(GO) test ./translate/... ./config/... ./world/... ./proxy/compile/... -update

.PHONY: bench
bench: build ## compare the proxy with Envoy, nginx and HAProxy on this machine (ARGS="-only tls", ARGS=-short, ARGS=-list)
	./test/install-envoy.sh
	$(GO) run ./test/bench $(ARGS)

.PHONY: bench-control
bench-control: build ## measure the control plane's delivery beside its goals (ARGS=-short as CI does)
	$(GO) run ./test/bench/control $(ARGS)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
